//! What a user's Dockerfile may ask of the daemon.
//!
//! The daemon's own frontend is the only one: a `# syntax=` line would run an image of the user's choice
//! with the daemon's rights to the session. Entitlements are denied by the daemon itself.

use std::collections::BTreeMap;

use panda_domain::failure::FailureCode;

use crate::failure::BuildFailure;

/// Largest Dockerfile in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Checks a Dockerfile and returns it without its syntax line (line numbers stay).
pub(crate) fn admit(text: &str) -> Result<String, BuildFailure> {
    if text.len() > MAX_BYTES {
        return Err(refused("it is larger than 1 MiB", "make it smaller"));
    }
    let text = text.trim_start_matches('\u{feff}');
    let mut directives = Vec::new();
    let mut rest = text;
    let mut dropped = 0;
    while let Some((line, after)) = split_line(rest) {
        let Some((name, value)) = directive(line) else { break };
        if name == "syntax" {
            check_syntax(value)?;
            dropped += 1;
        } else {
            directives.push(line.trim_end());
        }
        rest = after;
    }
    // The daemon also takes `// syntax=`, a JSON document and lines after a `#!`.
    let foreign = rest.starts_with("//") || rest.trim_start().starts_with('{');
    if dropped == 0 && directives.is_empty() && foreign {
        return Err(refused("it is none", "begin it with FROM, ARG or a `#` comment"));
    }
    let mut out = String::with_capacity(text.len() + 2);
    for line in directives {
        out.extend([line, "\n"]);
    }
    out.push_str(&"#\n".repeat(dropped));
    match rest.strip_prefix("#!") {
        Some(after) => out.extend(["# ", after]),
        None => out.push_str(rest),
    }
    Ok(out)
}

/// Checks that no build argument reaches past the Dockerfile.
pub(crate) fn check_args(args: &BTreeMap<String, String>) -> Result<(), BuildFailure> {
    for (name, value) in args {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        let shown: String = name.chars().take(60).flat_map(char::escape_debug).collect();
        if !plain || name.len() > 128 || value.contains('\0') {
            return Err(argument(&shown, "is no name of a variable, or its value has a NUL"));
        }
        if name.to_ascii_uppercase().starts_with("BUILDKIT_") {
            return Err(argument(&shown, "would change the builder itself"));
        }
    }
    Ok(())
}

fn argument(name: &str, problem: &str) -> BuildFailure {
    let cause = format!("the build argument `{name}` {problem}");
    BuildFailure::new(FailureCode::P109, cause, "rename or remove it under build.args in panda.toml")
}

fn refused(problem: &str, fix: &str) -> BuildFailure {
    BuildFailure::new(FailureCode::P109, format!("the Dockerfile can't be used: {problem}"), fix)
}

fn split_line(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() { None } else { Some(text.split_once('\n').unwrap_or((text, ""))) }
}

/// Reads `# name = value` for the names that the daemon knows; anything else ends the directives.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let name = name.trim().to_ascii_lowercase();
    let value = value.trim();
    (matches!(name.as_str(), "syntax" | "escape" | "check") && !value.is_empty()).then_some((name, value))
}

/// Allows the released Dockerfile frontends: the daemon's own speaks their language.
fn check_syntax(value: &str) -> Result<(), BuildFailure> {
    let name = value.strip_prefix("docker.io/").unwrap_or(value);
    let tag = match name.strip_prefix("docker/dockerfile") {
        Some("") => return Ok(()),
        Some(rest) => rest.strip_prefix(':').unwrap_or("?"),
        None => "?",
    };
    if tag == "latest" || (tag.starts_with('1') && tag.bytes().all(|b| b.is_ascii_digit() || b == b'.')) {
        return Ok(());
    }
    let shown: String = value.chars().take(100).flat_map(char::escape_debug).collect();
    Err(refused(
        &format!("the frontend `{shown}` is not allowed"),
        "remove the `# syntax=` line, or use docker/dockerfile:1",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_released_frontends_are_replaced_by_the_daemons_own_and_lines_keep_their_numbers() {
        let text = "# syntax=docker/dockerfile:1.7\n# escape=`\nFROM x\n";
        assert_eq!(admit(text).unwrap(), "# escape=`\n#\nFROM x\n");
        assert_eq!(admit("\u{feff}#syntax = docker.io/docker/dockerfile\r\nFROM x").unwrap(), "#\nFROM x");
        assert_eq!(
            admit("# a comment\n# syntax=evil\nFROM x").unwrap(),
            "# a comment\n# syntax=evil\nFROM x"
        );
    }

    #[test]
    fn other_frontends_are_refused_however_they_are_named() {
        for bad in [
            "# syntax=evil/frontend\nFROM x",
            "#SYNTAX=docker/dockerfile:1-labs\nFROM x",
            "# escape=`\n# syntax=evil\nFROM x",
            "# syntax=docker/dockerfile@sha256:00\nFROM x",
            "# syntax=docker/dockerfile-upstream:1\nFROM x",
            "// syntax=evil\nFROM x",
            " {\"syntax\": \"evil\"}",
        ] {
            assert!(admit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_after_a_shebang_is_a_directive() {
        assert_eq!(admit("#!a\n# syntax=evil\nFROM x").unwrap(), "# a\n# syntax=evil\nFROM x");
        assert_eq!(admit("#!a\n#!b\n# syntax=evil\n").unwrap(), "# a\n#!b\n# syntax=evil\n");
    }

    #[test]
    fn arguments_of_the_builder_itself_are_refused() {
        let args = |name: &str| BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        for bad in ["BUILDKIT_SYNTAX", "BUILDKIT_CACHE_MOUNT_NS", "buildkit_syntax", "A=B", "1A", "", "A\nB"]
        {
            assert!(check_args(&args(bad)).is_err(), "{bad:?}");
        }
        assert!(check_args(&args("NODE_OPTIONS")).is_ok());
    }
}
