//! From the daemon's answer and a step's last lines to a code with cause and fix.

mod rules;

use std::time::Duration;

use panda_domain::failure::FailureCode;

use super::BuildFailure;
use crate::buildkit::log::Evidence;
use crate::log::sanitize;

pub(crate) use rules::push_may_pass;
use rules::{ANSWERED, CONNECTION, KILLED, PRINTED, Rule};

/// What the daemon adds where the kernel counts kills (cgroup version 2); on version 1 it can't tell them from any other.
const OUT_OF_MEMORY: &str = "did not complete successfully: cannot allocate memory";

/// How Solve ended.
pub(crate) enum Ending {
    /// The daemon's error text.
    Error(String),
    /// The daemon is gone.
    Unreachable(String),
    /// Our deadline passed.
    Deadline(Duration),
}

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
    if message.contains(OUT_OF_MEMORY) {
        return out_of_memory("ran", evidence, memory_limit);
    }
    if exit == Some(137) || message.contains("cannot allocate memory") {
        return out_of_memory("was killed, probably", evidence, memory_limit);
    }
    if exit.is_some() {
        let lines = evidence.tail.iter().rev();
        let printed = PRINTED.iter().find_map(|rule| {
            let line = lines.clone().find(|line| rule.0.iter().any(|text| line.contains(text)))?;
            Some(by_rule(rule, &sanitize(line)))
        });
        return printed.unwrap_or_else(|| {
            if evidence.tail.iter().any(|line| is_a_kill(line)) {
                out_of_memory("lost a process, probably", evidence, memory_limit)
            } else {
                step_failed(exit, evidence)
            }
        });
    }
    let message = short(message);
    if push_may_pass(&message) {
        return BuildFailure::transient(
            FailureCode::P111,
            format!("the registry didn't take the image: {message}"),
            "deploy again; if it stays, ask the operator to run `panda-server doctor`",
        );
    }
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

/// Tells whether a line says that a child was killed; the shell prints just the word.
fn is_a_kill(line: &str) -> bool {
    line.trim() == "Killed" || KILLED.iter().any(|text| line.contains(text))
}

/// `how` leads to "out of memory": as sure as the daemon can be.
fn out_of_memory(how: &str, evidence: &Evidence, memory_limit: Option<u64>) -> BuildFailure {
    let limit = memory_limit.map_or_else(String::new, |bytes| format!(" (limit {} MiB)", bytes >> 20));
    let step = evidence.step.as_deref().unwrap_or("a step");
    BuildFailure::new(
        FailureCode::P106,
        format!("`{step}` {how} out of memory{limit}"),
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
            ("/bin/sh: 1: Cannot fork", FailureCode::P109),
            (
                "runc run failed: unable to start container process: can't get final child's PID from pipe: EOF; runc init \
                 error(s): nsexec-0[42]: unable to spawn stage-1: Resource temporarily unavailable",
                FailureCode::P111,
            ),
            ("g++: fatal error: Killed signal terminated program cc1plus", FailureCode::P106),
            ("make: *** [Makefile:2: all] Error 137", FailureCode::P106),
            ("npm error signal SIGKILL", FailureCode::P106),
            ("Killed", FailureCode::P106),
            ("Killed 3 stale workers", FailureCode::P109),
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
    fn where_the_kernel_counts_kills_the_cause_is_certain_whatever_the_exit_code() {
        let failure = of(&EXIT_1.replace("exit code: 1", "cannot allocate memory"), &["Killed"]);
        assert_eq!(failure.failure.code, FailureCode::P106);
        assert_eq!(failure.failure.cause, "`[build 3/6] RUN npm ci` ran out of memory (limit 1024 MiB)");
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
            (
                "failed to push registry:5000/x: unexpected status from PUT request to http://registry:5000/v2/x/manifests/1: \
                 400 Bad Request\nblob unknown to registry",
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
