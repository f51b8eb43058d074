//! How a verb ends other than well.

use panda_api_types::{ErrorCode, FieldError, Problem};
use panda_domain::names::InvalidName;

/// Exit code of a wrong command line.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Exit code after Ctrl-C.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Why a verb stopped.
#[derive(Debug)]
pub(crate) enum CliError {
    /// Something to tell, as the API tells it, and the exit code.
    Problem {
        /// What happened and what to do.
        problem: Box<Problem>,
        /// The process's exit code.
        exit: u8,
    },
    /// All was said already; only the exit code is left.
    Said(u8),
}

/// What verbs return.
pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// Makes an error of a code, with that code's exit.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::from(Problem::new(code, detail))
    }

    /// Makes an error of a wrong command line.
    pub(crate) fn usage(detail: impl Into<String>) -> Self {
        let problem = Box::new(Problem::new(ErrorCode::InvalidRequest, detail));
        Self::Problem { problem, exit: EXIT_USAGE }
    }

    /// Makes an error of this machine's files: what was tried, on what, and what the system said.
    pub(crate) fn file(tried: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorCode::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorCode::Forbidden,
            _ => ErrorCode::InvalidRequest,
        };
        Self::new(code, format!("{tried} `{}`: {error}", path.display()))
    }

    /// Says what happened in place of what the error says.
    #[must_use]
    pub(crate) fn detail_instead(mut self, detail: String) -> Self {
        if let Self::Problem { problem, .. } = &mut self {
            problem.detail = detail;
        }
        self
    }

    /// Returns what happened.
    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Problem { problem, .. } => &problem.detail,
            Self::Said(_) => "",
        }
    }

    /// Adds what to do, unless the error already says it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Problem { problem, .. } = &mut self {
            problem.hint.get_or_insert_with(|| hint.into());
        }
        self
    }

    /// Says what to do in place of what the error says.
    #[must_use]
    pub(crate) fn hint_instead(mut self, hint: String) -> Self {
        if let Self::Problem { problem, .. } = &mut self {
            problem.hint = Some(hint);
        }
        self
    }

    /// Adds wrong fields.
    #[must_use]
    pub(crate) fn fields(mut self, errors: Vec<FieldError>) -> Self {
        if let Self::Problem { problem, .. } = &mut self {
            problem.errors = errors;
        }
        self
    }

    /// Returns the code, if there is a problem.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Problem { problem, .. } => Some(problem.code),
            Self::Said(_) => None,
        }
    }

    /// Returns the process's exit code.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Problem { exit, .. } | Self::Said(exit) => *exit,
        }
    }
}

impl From<InvalidName> for CliError {
    fn from(error: InvalidName) -> Self {
        Self::new(ErrorCode::InvalidRequest, error.to_string()).hint(error.fix())
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        let exit = problem.code.exit();
        Self::Problem { problem: Box::new(problem), exit }
    }
}
