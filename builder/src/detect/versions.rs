//! Which versions there are and which one an app gets that doesn't say.

use std::cmp::Ordering;

/// Major versions of Node.js with an image, newest first.
pub(crate) const NODE: [u64; 4] = [24, 22, 20, 18];
/// The one for apps that don't say.
pub(crate) const NODE_DEFAULT: u64 = 22;
/// Names of long-term releases, as `.nvmrc` may have them.
pub(crate) const NODE_NAMES: [(&str, u64); 4] =
    [("krypton", 24), ("jod", 22), ("iron", 20), ("hydrogen", 18)];
/// Minor versions of Python 3 with an image, in the order of preference.
pub(crate) const PYTHON: [u64; 5] = [13, 12, 11, 14, 10];
/// The one for apps that don't say.
pub(crate) const PYTHON_DEFAULT: u64 = 13;
/// Package managers for apps that don't say.
pub(crate) const PNPM: &str = "10";
pub(crate) const YARN_CLASSIC: &str = "1.22.22";
pub(crate) const YARN_BERRY: &str = "4";
pub(crate) const UV: &str = "uv>=0.5,<1";
pub(crate) const POETRY: &str = "poetry>=2,<3";
/// Serves static files.
pub(crate) const NGINX_IMAGE: &str = "nginx:stable";

/// Returns the image for a major version of Node.js.
pub(crate) fn node_image(major: &str) -> String {
    format!("node:{major}-slim")
}

/// Returns the image for a version of Python such as `3.13`.
pub(crate) fn python_image(version: &str) -> String {
    format!("python:{version}-slim")
}

/// Picks the major version of Node.js that a range allows, the default first; `None` if none fits.
pub(crate) fn node_for(range: &str) -> Option<u64> {
    let range = range.trim().trim_start_matches('v');
    match range.to_ascii_lowercase().as_str() {
        "" | "*" | "x" | "node" | "latest" | "current" | "lts" | "lts/*" | "stable" => {
            return Some(NODE_DEFAULT);
        }
        named if named.starts_with("lts/") => {
            return NODE_NAMES.iter().find(|(name, _)| named[4..] == **name).map(|(_, major)| *major);
        }
        _ => {}
    }
    let candidates = std::iter::once(NODE_DEFAULT).chain(NODE);
    candidates.into_iter().find(|major| {
        let alternatives = range.split("||");
        alternatives.into_iter().any(|alternative| node_allows(alternative, *major))
    })
}

/// Tells whether some version of this major fits, taking its newest minor for the test.
fn node_allows(range: &str, major: u64) -> bool {
    let comparators = match range.split_once(" - ") {
        Some((low, high)) => format!(">={}, <={}", low.trim(), high.trim()),
        None => node_range(range),
    };
    let Ok(requirement) = semver::VersionReq::parse(&comparators) else { return false };
    // An exact version gets the newest of its major: fixes are worth more than the third number.
    (0..=40)
        .any(|minor| (0..=20).any(|patch| requirement.matches(&semver::Version::new(major, minor, patch))))
}

/// Rewrites npm's range to that of the semver crate: commas between, a bare version means its major.
fn node_range(range: &str) -> String {
    let spaced = range.replace(">= ", ">=").replace("<= ", "<=").replace("> ", ">").replace("< ", "<");
    let parts = spaced.split_whitespace().map(|part| {
        let bare = part.trim_start_matches('=').trim_start_matches('v');
        if bare.starts_with(|c: char| c.is_ascii_digit()) {
            format!("^{}", bare.split('.').next().unwrap_or(bare))
        } else {
            bare.to_owned()
        }
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Picks the minor version of Python 3 that a specifier allows, the preferred first; `None` if none fits.
///
/// Takes what `requires-python` and Poetry write: `>=3.10,<3.14`, `==3.11.*`, `~=3.11`, `^3.11`, `3.11.4`.
pub(crate) fn python_for(specifier: &str) -> Option<u64> {
    let alternatives: Vec<&str> = specifier.split("||").collect();
    PYTHON.into_iter().find(|minor| alternatives.iter().any(|one| python_allows(one, *minor)))
}

fn python_allows(specifier: &str, minor: u64) -> bool {
    let parts = specifier.split([',', ' ']).filter(|part| !part.is_empty());
    let joined = parts.fold(Vec::<String>::new(), |mut all, part| {
        // `>= 3.10` is one comparator in two words.
        match all.last_mut() {
            Some(last) if last.chars().all(|c| "<>=!~^".contains(c)) => last.push_str(part),
            _ => all.push(part.to_owned()),
        }
        all
    });
    // The newest patch of the minor decides, but an exact one means its minor.
    joined.iter().all(|part| python_comparator(part, minor))
}

fn python_comparator(part: &str, minor: u64) -> bool {
    let (operator, version) = part.split_at(part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len()));
    let wild = version.ends_with(".*");
    let wanted: Vec<u64> =
        version.trim_end_matches(".*").split('.').map_while(|number| number.parse().ok()).collect();
    if wanted.first() != Some(&3) {
        return matches!((operator, wanted.first()), ("<" | "<=", Some(4..)) | (">=" | ">", Some(2)))
            || part == "*";
    }
    let newest = [3, minor, 999];
    let order = newest[..].cmp(&wanted[..]);
    let same_minor = wanted.get(1).is_none_or(|wanted| *wanted == minor);
    match operator {
        ">=" => order != Ordering::Less,
        ">" => order == Ordering::Greater && (wanted.len() > 2 || !same_minor),
        "<" => order == Ordering::Less || (wanted.len() > 2 && same_minor && wanted[2] > 0),
        "<=" => order != Ordering::Greater || (wanted.len() > 2 && same_minor),
        "!=" => !(wild && same_minor),
        "^" => wanted.get(1).is_none_or(|wanted| minor >= *wanted),
        "~=" | "~" if wanted.len() == 2 && operator == "~=" => minor >= wanted[1],
        "~=" | "~" | "" | "=" | "==" | "===" => same_minor,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_node_pick_the_default_when_it_fits() {
        let cases = [
            (">=18", Some(22)),
            ("22.x", Some(22)),
            ("^20.9.0", Some(20)),
            ("v18.17.1", Some(18)),
            ("20", Some(20)),
            (">=18 <21", Some(20)),
            ("18 || 20", Some(20)),
            ("16 || >=22", Some(22)),
            (">= 24", Some(24)),
            ("~20.11", Some(20)),
            ("18 - 20", Some(20)),
            ("lts/*", Some(22)),
            ("lts/iron", Some(20)),
            ("lts/argon", None),
            ("12.x", None),
            ("not a version", None),
        ];
        for (range, expected) in cases {
            assert_eq!(node_for(range), expected, "{range}");
        }
    }

    #[test]
    fn specifiers_of_python_pick_the_preferred_that_fits() {
        let cases = [
            (">=3.10", Some(13)),
            (">=3.10,<3.13", Some(12)),
            (">= 3.9, < 3.12", Some(11)),
            ("3.11", Some(11)),
            ("3.11.4", Some(11)),
            ("==3.11.*", Some(11)),
            ("~=3.11.2", Some(11)),
            ("~=3.11", Some(13)),
            ("^3.11", Some(13)),
            (">=3.11.4,<4.0", Some(13)),
            ("!=3.13.*,>=3.10", Some(12)),
            ("<=3.12", Some(11)),
            (">3.13", Some(14)),
            ("2.7", None),
            ("<3.8", None),
        ];
        for (specifier, expected) in cases {
            assert_eq!(python_for(specifier), expected, "{specifier}");
        }
    }
}
