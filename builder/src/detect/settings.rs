//! Settings that could reach a Dockerfile are checked before anything is written from them.

use panda_domain::failure::FailureCode;
use panda_domain::source_tree::check_path;

use crate::dockerfile::policy;
use crate::plan::PlanFailure;
use crate::settings::BuildSettings;

pub(super) fn check(settings: &BuildSettings) -> Result<(), PlanFailure> {
    policy::check_args(&settings.args).map_err(|failure| PlanFailure(Box::new(failure.failure)))?;
    for (key, value) in [
        ("root", Some(&settings.root)),
        ("dockerfile", settings.dockerfile.as_ref()),
        ("output", settings.output.as_ref()),
    ] {
        if let Some(path) = value {
            plain_path(path).map_err(|problem| wrong(key, path, problem))?;
        }
    }
    for (key, value) in [("install", &settings.install), ("command", &settings.command)] {
        if let Some(line) = value
            && (line.trim().is_empty()
                || line.len() > 8192
                || line.chars().any(|c| c.is_control() && c != '\t'))
        {
            return Err(wrong(key, line, "has to be one line of shell"));
        }
    }
    for name in &settings.secrets {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong("secrets", name, "is no name of a variable"));
        }
    }
    for package in &settings.packages {
        let plain =
            package.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
        if !plain || !package.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(wrong("packages", package, "is no name of a Debian package"));
        }
    }
    Ok(())
}

/// A path may stand in a Dockerfile only if nothing in it means something there.
pub(super) fn plain_path(path: &str) -> Result<(), &'static str> {
    let inner = path.trim_end_matches('/').strip_prefix("./").unwrap_or(path.trim_end_matches('/'));
    if inner == "." {
        return Ok(());
    }
    check_path(inner).map_err(|_| "has to lie inside the source")?;
    let plain = |c: char| c.is_alphanumeric() || " ._-+@/=,~()".contains(c);
    if inner.chars().all(plain) {
        Ok(())
    } else {
        Err("has characters that a path in a Dockerfile can't have")
    }
}

fn wrong(key: &str, value: &str, problem: &str) -> PlanFailure {
    let shown: String = value.chars().take(80).flat_map(char::escape_debug).collect();
    let cause = format!("`{shown}` {problem}");
    PlanFailure::new(FailureCode::P112, cause, format!("correct build.{key} in panda.toml"))
}
