//! From the daemon's answer and a step's last lines to a code with cause and fix.

use std::time::Duration;

use panda_domain::failure::FailureCode;

use super::BuildFailure;
use crate::buildkit::log::Evidence;
use crate::log::sanitize;

/// How Solve ended.
pub(crate) enum Ending {
    /// The daemon's error text.
    Error(String),
    /// The daemon is gone.
    Unreachable(String),
    /// Our deadline passed.
    Deadline(Duration),
}

/// Texts of which one has to appear, the code, the cause, the fix.
type Rule = (&'static [&'static str], FailureCode, &'static str, &'static str);

/// What the tools print, most telling first. The cause gets the line that matched.
const PRINTED: &[Rule] = &[
    (
        &["No space left on device", "no space left on device", "ENOSPC"],
        FailureCode::P110,
        "the builder's disk is full",
        "ask the operator to free the builder's disk (`panda-server doctor` shows it), then deploy again",
    ),
    (
        &["JavaScript heap out of memory"],
        FailureCode::P106,
        "Node ran out of heap while building",
        "set the build argument NODE_OPTIONS=--max-old-space-size=<MB>, or ask the operator for a larger builder",
    ),
    (
        &[
            "can only install packages when your package.json and package-lock.json",
            "can only install with an existing package-lock.json",
            "ERR_PNPM_OUTDATED_LOCKFILE",
            "ERR_PNPM_NO_LOCKFILE",
            "ERR_PNPM_LOCKFILE_CONFIG_MISMATCH",
            "Your lockfile needs to be updated",
            "The lockfile would have been modified by this install",
            "pyproject.toml changed significantly since poetry.lock was last generated",
            "poetry.lock is not up to date with pyproject.toml",
            "The lockfile at `uv.lock` needs to be updated",
            "Unable to find lockfile at `uv.lock`",
        ],
        FailureCode::P103,
        "the lock file doesn't fit the project file",
        "run your package manager's install locally, commit the lock file, then deploy again",
    ),
    (
        &[
            "npm error code E401",
            "npm error code E403",
            "ERR_PNPM_FETCH_401",
            "ERR_PNPM_FETCH_403",
            "401 Unauthorized",
            "403 Forbidden",
            "could not read Username for",
            "Permission denied (publickey)",
            "Authentication failed for",
        ],
        FailureCode::P104,
        "a dependency wants credentials",
        "store the token with `panda env set --secret NAME`, and list NAME under build.secrets in panda.toml",
    ),
    (
        &[
            "npm error code ETARGET",
            "No matching version found for",
            "ERR_PNPM_NO_MATCHING_VERSION",
            "Could not find a version that satisfies the requirement",
            "No matching distribution found for",
            "because no versions of",
            "there are no versions of",
            "Couldn't find any versions for",
            "Current Python version",
            "npm error code EBADENGINE",
            "is incompatible with this module",
        ],
        FailureCode::P105,
        "a version that the project asks for isn't to be had",
        "check the version in the project file, update the lock file, then deploy again",
    ),
    (
        &[
            "ENOTFOUND",
            "EAI_AGAIN",
            "Temporary failure in name resolution",
            "Could not resolve host",
            "Network is unreachable",
            "ETIMEDOUT",
        ],
        FailureCode::P111,
        "a step couldn't reach the network",
        "deploy again; if it stays, ask the operator whether builds may reach that host",
    ),
];

/// What the daemon answers.
const ANSWERED: &[Rule] = &[
    (
        &["no space left on device"],
        FailureCode::P110,
        "the builder's disk is full",
        "ask the operator to free the builder's disk (`panda-server doctor` shows it), then deploy again",
    ),
    (
        &["security.insecure is not allowed", "network.host is not allowed"],
        FailureCode::P109,
        "the Dockerfile asks for more rights than a build step may have",
        "remove `--security=insecure` and `--network=host` from its RUN lines",
    ),
    (
        &[
            "dockerfile parse error",
            "failed to solve: dockerfile",
            "unknown instruction",
            "Dockerfile cannot be empty",
            "failed to parse",
        ],
        FailureCode::P109,
        "the Dockerfile can't be read",
        "fix the line that the message names",
    ),
    (
        &["target stage", "failed to reach build target"],
        FailureCode::P109,
        "the Dockerfile has no such stage",
        "set build.target in panda.toml to one of its stages, or remove it",
    ),
    (
        &[
            "insufficient_scope",
            "pull access denied",
            "authorization failed",
            "unauthorized",
            "401 Unauthorized",
            "403 Forbidden",
            "denied: ",
        ],
        FailureCode::P104,
        "a registry wants credentials",
        "check the image's name; for a private one ask the operator to add the registry's credentials",
    ),
    (
        &["failed to resolve source metadata", "failed to copy: httpReadSeeker", "manifest unknown"],
        FailureCode::P105,
        "a base image isn't to be had",
        "check its name and tag; `docker pull` with the same name should work",
    ),
    (
        &["failed to compute cache key", "failed to calculate checksum"],
        FailureCode::P109,
        "the Dockerfile copies a file that isn't in the source",
        "check the path, and whether .dockerignore or .gitignore leaves it out",
    ),
    (
        &[": not found"],
        FailureCode::P109,
        "the build needs something that isn't there",
        "a secret has to be set with `panda env set --secret NAME` and listed under build.secrets in panda.toml",
    ),
];

/// Failures of the network between daemon and registry, whatever they stopped.
const CONNECTION: &[&str] = &[
    "connection refused",
    "connection reset",
    "no such host",
    "i/o timeout",
    "TLS handshake",
    "network is unreachable",
    "unexpected EOF",
    "Bad Gateway",
    "Service Unavailable",
    "500 Internal Server Error",
    "Client.Timeout",
];

/// Classifies; never panics, always says something.
pub(crate) fn classify(ending: &Ending, evidence: &Evidence, memory_limit: Option<u64>) -> BuildFailure {
    let mut failure = match ending {
        Ending::Deadline(limit) => deadline(*limit, evidence),
        Ending::Unreachable(message) => BuildFailure::transient(
            FailureCode::P111,
            format!("the builder can't be reached: {message}"),
            "deploy again; if it stays, ask the operator to run `panda-server doctor`",
        ),
        Ending::Error(message) => error(message, evidence, memory_limit),
    };
    failure.step.clone_from(&evidence.step);
    failure.failure.log = evidence.tail.iter().map(|line| sanitize(line)).collect();
    failure
}

fn deadline(limit: Duration, evidence: &Evidence) -> BuildFailure {
    let step = evidence.step.as_deref().unwrap_or("the start of the build");
    BuildFailure::new(
        FailureCode::P107,
        format!("the build took longer than {} s; it was at `{step}`", limit.as_secs()),
        "make that step shorter, or raise build.timeout in panda.toml",
    )
}

fn error(message: &str, evidence: &Evidence, memory_limit: Option<u64>) -> BuildFailure {
    let exit = exit_code(message);
    if exit == Some(137) || message.contains("cannot allocate memory") {
        return out_of_memory(evidence, memory_limit);
    }
    if exit.is_some() {
        let lines = evidence.tail.iter().rev();
        let printed = PRINTED.iter().find_map(|rule| {
            let line = lines.clone().find(|line| rule.0.iter().any(|text| line.contains(text)))?;
            Some(by_rule(rule, &sanitize(line)))
        });
        return printed.unwrap_or_else(|| step_failed(exit, evidence));
    }
    let message = short(message);
    if CONNECTION.iter().any(|text| message.contains(text)) {
        let what = if message.contains("push") { "the registry" } else { "a registry" };
        return BuildFailure::transient(
            FailureCode::P111,
            format!("{what} can't be reached: {message}"),
            "deploy again; if it stays, ask the operator to run `panda-server doctor`",
        );
    }
    match ANSWERED.iter().find(|rule| rule.0.iter().any(|text| message.contains(text))) {
        Some(rule) => by_rule(rule, &message),
        None => BuildFailure::new(
            FailureCode::P109,
            format!("the build failed: {message}"),
            "`panda logs --build` shows the whole log",
        ),
    }
}

fn by_rule(rule: &Rule, detail: &str) -> BuildFailure {
    let transient = rule.1 == FailureCode::P111;
    let detail: String = detail.trim().chars().take(300).collect();
    BuildFailure { transient, ..BuildFailure::new(rule.1, format!("{}: {detail}", rule.2), rule.3) }
}

fn out_of_memory(evidence: &Evidence, memory_limit: Option<u64>) -> BuildFailure {
    let limit = memory_limit.map_or_else(String::new, |bytes| format!(" (limit {} MiB)", bytes >> 20));
    let step = evidence.step.as_deref().unwrap_or("a step");
    BuildFailure::new(
        FailureCode::P106,
        format!("`{step}` was killed, probably out of memory{limit}"),
        "let the build use less memory (fewer parallel jobs), or ask the operator for a larger builder",
    )
}

fn step_failed(exit: Option<u32>, evidence: &Evidence) -> BuildFailure {
    let step = evidence.step.as_deref().unwrap_or("a step");
    let code = exit.map_or_else(String::new, |code| format!(" with exit code {code}"));
    let said = evidence.tail.iter().rev().map(|line| sanitize(line)).find(|line| !line.trim().is_empty());
    let said = said
        .map_or_else(String::new, |line| format!(": {}", line.trim().chars().take(200).collect::<String>()));
    BuildFailure::new(
        FailureCode::P109,
        format!("`{step}` failed{code}{said}"),
        "run the same command locally; `panda logs --build` shows the whole log",
    )
}

/// Reads `… did not complete successfully: exit code: 137`.
fn exit_code(message: &str) -> Option<u32> {
    let rest = message.split("did not complete successfully: exit code: ").nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn short(message: &str) -> String {
    sanitize(&message.replace('\n', " ")).chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str, tail: &[&str]) -> BuildFailure {
        let evidence = Evidence {
            step: Some("[build 3/6] RUN npm ci".to_owned()),
            tail: tail.iter().map(ToString::to_string).collect(),
        };
        classify(&Ending::Error(message.to_owned()), &evidence, Some(1 << 30))
    }

    const EXIT_1: &str = r#"process "/bin/sh -c npm ci" did not complete successfully: exit code: 1"#;

    #[test]
    fn what_tools_print_tells_the_cause() {
        let cases = [
            (
                "npm error `npm ci` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync.",
                FailureCode::P103,
            ),
            (" ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with \"frozen-lockfile\"", FailureCode::P103),
            (
                "error: The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.",
                FailureCode::P103,
            ),
            ("npm error code E401", FailureCode::P104),
            ("npm error notarget No matching version found for left-pad@99.0.0.", FailureCode::P105),
            ("ERROR: No matching distribution found for flask==99", FailureCode::P105),
            ("npm error syscall getaddrinfo ENOTFOUND example", FailureCode::P111),
            (
                "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
                FailureCode::P106,
            ),
            ("write /x: No space left on device", FailureCode::P110),
            ("src/a.ts(1,1): error TS2304", FailureCode::P109),
        ];
        for (line, code) in cases {
            let failure = of(EXIT_1, &["before", line, "npm error A complete log of this run", ""]);
            assert_eq!(failure.failure.code, code, "{line}: {}", failure.failure.cause);
            assert!(!failure.failure.fix.is_empty());
        }
    }

    #[test]
    fn a_killed_step_names_the_limit() {
        let failure = of(&EXIT_1.replace("code: 1", "code: 137"), &["Killed"]);
        assert_eq!(failure.failure.code, FailureCode::P106);
        assert!(
            failure.failure.cause.contains("probably out of memory (limit 1024 MiB)"),
            "{}",
            failure.failure.cause
        );
    }

    #[test]
    fn what_the_daemon_answers_tells_the_rest() {
        let cases = [
            (
                "failed to solve: node:99-slim: failed to resolve source metadata for docker.io/library/node:99-slim: not found",
                FailureCode::P105,
                false,
            ),
            (
                "failed to push 127.0.0.1:5/x: dial tcp 127.0.0.1:5: connect: connection refused",
                FailureCode::P111,
                true,
            ),
            ("failed to compute cache key: \"/nope\": not found", FailureCode::P109, false),
            ("security.insecure is not allowed", FailureCode::P109, false),
            ("write /var/lib/x: no space left on device", FailureCode::P110, false),
            ("something new", FailureCode::P109, false),
        ];
        for (message, code, transient) in cases {
            let failure = of(message, &[]);
            assert_eq!((failure.failure.code, failure.transient), (code, transient), "{message}");
        }
    }

    #[test]
    fn a_deadline_names_the_step() {
        let evidence = Evidence { step: Some("RUN sleep".to_owned()), ..Evidence::default() };
        let failure = classify(&Ending::Deadline(Duration::from_mins(1)), &evidence, None);
        assert_eq!(failure.failure.code, FailureCode::P107);
        assert!(failure.failure.cause.contains("60 s") && failure.failure.cause.contains("RUN sleep"));
    }
}
