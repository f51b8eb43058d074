//! What a use-case answers when it can't do what was asked. Knows nothing of HTTP.

use panda_api_types::{ErrorCode, FieldError};
use panda_deployer::runtime::RuntimeError;
use panda_domain::ids::InvalidId;
use panda_domain::image::InvalidImage;
use panda_domain::names::InvalidName;
use panda_domain::source_tree::InvalidHash;
use panda_store::{BlobError, StoreError};

/// A refusal or a failure: a code that is a contract, words that the asker may read, and a cause that only the operator may.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    code: ErrorCode,
    detail: String,
    hint: Option<String>,
    fields: Vec<FieldError>,
    retry_after_s: Option<u32>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of a use-case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error of this code with words for the asker.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            hint: None,
            fields: Vec::new(),
            retry_after_s: None,
            source: None,
        }
    }

    /// Returns the answer for everything that isn't there or isn't the asker's: always the same words.
    pub fn not_found(noun: &str) -> Self {
        let error = Self::new(ErrorCode::NotFound, format!("there is no such {noun}"));
        match list_of(noun) {
            Some(command) => error.with_hint(format!("`{command}` shows what there is")),
            None => error,
        }
    }

    /// Returns the answer to a request without a valid login.
    pub fn unauthenticated() -> Self {
        Self::new(ErrorCode::Unauthenticated, "no valid login came with the request")
            .with_hint("sign in with `panda login`")
    }

    /// Returns the answer to a valid login that may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::Forbidden, detail)
    }

    /// Returns the answer to a wrong field.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let detail = if field.is_empty() { message.clone() } else { format!("`{field}`: {message}") };
        Self::new(ErrorCode::InvalidRequest, detail).with_fields(vec![FieldError { field, message }])
    }

    /// Returns the answer to several wrong fields; `fields` has at least one.
    pub fn invalid_fields(fields: Vec<FieldError>) -> Self {
        let first = fields.first().map_or_else(String::new, |f| format!("`{}`: {}", f.field, f.message));
        Self::new(ErrorCode::InvalidRequest, first).with_fields(fields)
    }

    /// Returns the answer to a state that doesn't allow it now.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, detail)
    }

    /// Returns the answer to too many requests.
    pub fn rate_limited(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self::new(ErrorCode::RateLimited, detail).with_retry_after(retry_after_s)
    }

    /// Returns the answer to a bug: generic words, the cause for the operator's log.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(ErrorCode::Internal, "something went wrong on the server").with_source(source)
    }

    /// Returns the answer when something that is needed can't be reached for a moment.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, detail).with_retry_after(1)
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds wrong fields.
    #[must_use]
    pub fn with_fields(mut self, fields: Vec<FieldError>) -> Self {
        self.fields = fields;
        self
    }

    /// Adds seconds to wait before the next try.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Adds the cause, which only the log shows.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// Returns the words for the asker.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns what to do.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns the wrong fields.
    pub fn fields(&self) -> &[FieldError] {
        &self.fields
    }

    /// Returns the seconds to wait before the next try.
    pub fn retry_after_s(&self) -> Option<u32> {
        self.retry_after_s
    }

    /// Returns the whole chain of causes as one line for the log, `None` when there is no cause beyond the words.
    pub fn chain(&self) -> Option<String> {
        let mut links = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(link) = next {
            links.push(link.to_string());
            next = link.source();
        }
        if links.is_empty() { None } else { Some(links.join(": ")) }
    }
}

/// The command that lists things of a kind.
fn list_of(noun: &str) -> Option<&'static str> {
    Some(match noun {
        "app" | "project" => "panda apps list",
        "release" | "build log" => "panda releases",
        "instance" => "panda ps",
        "domain" => "panda domains list",
        "certificate" => "panda certs list",
        "token" => "panda tokens list",
        "deployment" | "task" => "panda events",
        _ => return None,
    })
}

/// Says which field a name came from.
pub trait InField<T> {
    /// Turns a refused name into the error of this field.
    fn in_field(self, field: &str) -> Result<T>;
}

impl<T> InField<T> for std::result::Result<T, InvalidName> {
    fn in_field(self, field: &str) -> Result<T> {
        self.map_err(|e| Error::invalid_field(field, e.to_string()).with_hint(e.fix()))
    }
}

impl<T> InField<T> for std::result::Result<T, InvalidId> {
    fn in_field(self, field: &str) -> Result<T> {
        self.map_err(|e| Error::invalid_field(field, e.to_string()))
    }
}

impl<T> InField<T> for std::result::Result<T, InvalidHash> {
    fn in_field(self, field: &str) -> Result<T> {
        self.map_err(|e| Error::invalid_field(field, e.to_string()))
    }
}

impl<T> InField<T> for std::result::Result<T, InvalidImage> {
    fn in_field(self, field: &str) -> Result<T> {
        let fix = "name it as `docker pull` does: `nginx:1.29` or `ghcr.io/acme/api@sha256:…`";
        self.map_err(|e| Error::invalid_field(field, e.to_string()).with_hint(fix))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => {
                Self::unavailable("the server's database isn't reachable right now").with_source(error)
            }
            StoreError::DiskFull => Self::unavailable("the server's disk is full")
                .with_hint("the operator has to free space on the server; running apps are not affected")
                .with_retry_after(30)
                .with_source(error),
            StoreError::WrongKey { .. } | StoreError::Undecryptable { .. } => Self::new(
                ErrorCode::UndecryptableSecrets,
                "stored env or secrets can't be decrypted with the server's key",
            )
            .with_hint("the operator has to give the server the key that it had when the values were stored")
            .with_source(error),
            other => Self::internal(other),
        }
    }
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::WrongHash { .. } | BlobError::NoHash(_) | BlobError::Cut { .. } => {
                Self::new(ErrorCode::InvalidSource, error.to_string())
                    .with_hint("send it again: what arrived whole is kept")
            }
            BlobError::TooLarge { .. } => Self::new(ErrorCode::TooLarge, error.to_string())
                .with_hint("leave large files out with a .dockerignore or .pandaignore"),
            BlobError::DiskFull => Self::unavailable("the server's disk is full")
                .with_hint("the operator has to free space on the server; running apps are not affected")
                .with_retry_after(30)
                .with_source(error),
            BlobError::File { .. } => Self::internal(error),
        }
    }
}

impl From<RuntimeError> for Error {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Unavailable { .. } | RuntimeError::Conflict { .. } => {
                Self::unavailable("what runs the containers isn't reachable right now").with_source(error)
            }
            RuntimeError::Rejected { ref reason, .. } => Self::new(ErrorCode::InvalidRequest, reason.clone()),
            RuntimeError::NotFound { .. } => Self::not_found("instance"),
            RuntimeError::Unsupported { capability } => {
                Self::new(ErrorCode::Unsupported, format!("this server's runtime has no {capability}"))
            }
            RuntimeError::Internal { .. } => Self::internal(error),
        }
    }
}
