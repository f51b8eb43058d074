//! The texts by which failures are known: what tools print, what the daemon and registries answer.

use panda_domain::failure::FailureCode;

/// Texts of which one has to appear, the code, the cause, the fix.
pub(super) type Rule = (&'static [&'static str], FailureCode, &'static str, &'static str);

/// What the tools print, most telling first. The cause gets the line that matched.
pub(super) const PRINTED: &[Rule] = &[
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
    // The runtime of steps, not the step: other builds have taken all processes.
    (
        &["]: unable to spawn stage-"],
        FailureCode::P111,
        "the builder can't start another process",
        "deploy again: another build may have taken all of them; if it stays, ask the operator for a larger builder",
    ),
    (
        &[
            "Cannot fork",
            "can't fork",
            "fork: Resource temporarily unavailable",
            "fork: retry: Resource temporarily unavailable",
            "can't start new thread",
            "failed to create new OS thread",
        ],
        FailureCode::P109,
        "the build started more processes than the builder allows",
        "let it run fewer jobs at a time, or ask the operator for a larger builder",
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
pub(super) const ANSWERED: &[Rule] = &[
    (
        &["no space left on device"],
        FailureCode::P110,
        "the builder's disk is full",
        "ask the operator to free the builder's disk (`panda-server doctor` shows it), then deploy again",
    ),
    (
        &["resource temporarily unavailable"],
        FailureCode::P111,
        "the builder can't start another process",
        "deploy again: another build may have taken all of them; if it stays, ask the operator for a larger builder",
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
pub(super) const CONNECTION: &[&str] = &[
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

/// What a registry answers when a push got garbled on its way, or was met by the registry's own trouble.
const GARBLED: &[&str] = &[
    "blob unknown",
    "blob upload unknown",
    "digest did not match",
    "EOF",
    "connection reset",
    "500 Internal Server Error",
    "502 Bad Gateway",
    "503 Service Unavailable",
];

/// Tells whether a push failed for a reason that passes.
pub(crate) fn push_may_pass(message: &str) -> bool {
    message.contains("failed to push") && GARBLED.iter().any(|text| message.contains(text))
}

/// What shells and tools print of a child that was killed.
pub(super) const KILLED: &[&str] = &[
    "Killed signal terminated program",
    "Error 137",
    "exit code 137",
    "exited with code 137",
    "signal SIGKILL",
    "signal: killed",
    "signal: 9, SIGKILL",
];
