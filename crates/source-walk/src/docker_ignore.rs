//! `.dockerignore`: the rules of Docker's matcher.
//!
//! Patterns are relative to the root, the last one that matches decides, `!` readmits. `*` and `?` stop at
//! `/`, `**` doesn't, `[a-z]` and `\` are as in Go's `filepath.Match`. A pattern that matches a directory
//! holds for everything below it. Letters' case counts.

mod glob;

use glob::Glob;

/// A line of an ignore file that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ignore pattern `{pattern}` {problem}")]
pub struct InvalidPattern {
    /// As written.
    pub pattern: String,
    /// Why it isn't one, continuing the sentence.
    pub problem: &'static str,
}

/// The patterns of a `.dockerignore`, in order.
#[derive(Debug, Clone, Default)]
pub struct DockerIgnore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    readmits: bool,
    glob: Glob,
}

impl DockerIgnore {
    /// Reads the text of a `.dockerignore`.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self::from_patterns(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned))
    }

    /// Takes patterns that were read before, without comments.
    pub fn from_patterns(patterns: impl IntoIterator<Item = String>) -> Result<Self, InvalidPattern> {
        let rules = patterns.into_iter().filter_map(|pattern| rule(&pattern).transpose());
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Tells whether this path (from the root, parts joined by `/`) is ignored.
    pub fn matches(&self, path: &str) -> bool {
        let mut ignored = false;
        for rule in &self.rules {
            // A rule that would not change the answer isn't asked.
            if rule.readmits == ignored && covers(&rule.glob, path) {
                ignored = !rule.readmits;
            }
        }
        ignored
    }

    /// Tells whether something below an ignored directory may still be wanted.
    pub fn may_readmit(&self) -> bool {
        self.rules.iter().any(|rule| rule.readmits)
    }
}

/// Tells whether the glob matches the path or one of its parents.
fn covers(glob: &Glob, path: &str) -> bool {
    glob.matches(path) || path.match_indices('/').any(|(end, _)| glob.matches(&path[..end]))
}

fn rule(line: &str) -> Result<Option<Rule>, InvalidPattern> {
    let trimmed = line.trim();
    let (readmits, pattern) = match trimmed.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, trimmed),
    };
    let invalid = |problem| InvalidPattern { pattern: line.chars().take(120).collect(), problem };
    match (readmits, pattern) {
        (true, "") => Err(invalid("has nothing after the `!`")),
        (false, "") => Ok(None),
        _ => Ok(Some(Rule { readmits, glob: Glob::new(&clean(pattern)).map_err(invalid)? })),
    }
}

/// Shortens a path as Go's `filepath.Clean` does and drops the leading slash.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if pattern.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of the ignore file, a path, whether it is ignored.
    const CASES: &[(&[&str], &str, bool)] = &[
        (&["node_modules"], "node_modules/a/b.js", true),
        (&["node_modules"], "packages/a/node_modules", false),
        (&["**/node_modules"], "packages/a/node_modules/x", true),
        (&["**/node_modules"], "node_modules", true),
        (&["**/node_modules"], "my_node_modules", false),
        (&["*.log"], "a.log", true),
        (&["*.log"], "logs/a.log", false),
        (&["**/*.log"], "logs/deep/a.log", true),
        (&["**/*.log"], "a.log", true),
        (&["*"], "a/b/c", true),
        (&["*", "!src"], "src/main.rs", false),
        (&["*", "!src"], "other", true),
        (&["*", "!src", "src/secret"], "src/secret", true),
        (&["!src", "src"], "src/a", true),
        (&["docs/**"], "docs/a", true),
        (&["docs/**"], "docs", false),
        (&["docs/**/*.md", "!docs/README.md"], "docs/README.md", false),
        (&["docs/**/*.md", "!docs/README.md"], "docs/sub/README.md", true),
        (&["docs/**/*.md"], "docs/x.md", true),
        (&["a/**/b"], "a/b", true),
        (&["a/**/b"], "a/x/y/b", true),
        (&["a/**/b"], "a/xb", false),
        (&["**"], "anything/at/all", true),
        (&["**foo"], "barfoo", true),
        (&["temp?"], "tempa", true),
        (&["temp?"], "temp", false),
        (&["temp?"], "temp/a", false),
        (&["*/temp*"], "dir/temporary.txt", true),
        (&["*/temp*"], "a/b/temp", false),
        (&["*/*/temp*"], "a/b/temp", true),
        (&["/abs/path"], "abs/path", true),
        (&["./a//b/"], "a/b", true),
        (&["a/../b"], "b", true),
        (&["../x"], "x", false),
        (&["  spaced  "], "spaced", true),
        (&["# no comment here"], "# no comment here", true),
        (&["file[0-9].txt"], "file7.txt", true),
        (&["file[^0-9].txt"], "file7.txt", false),
        (&["file[^0-9].txt"], "filex.txt", true),
        (&["\\*"], "*", true),
        (&["\\*"], "a", false),
        (&["README.md"], "readme.md", false),
        (&["a.c"], "abc", false),
        (&["Ünïcode?"], "Ünïcodeß", true),
        (&["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true),
        (&["*.md", "!README*.md", "README-secret.md"], "README-x.md", false),
        (&["a*b*c"], "a-b-b-c", true),
        (&["a*b*c"], "a-b-b-d", false),
        (&["."], "x", false),
    ];

    #[test]
    fn the_rules_of_docker_decide_what_is_ignored() {
        for (lines, path, expected) in CASES {
            let ignore = DockerIgnore::from_patterns(lines.iter().map(ToString::to_string)).unwrap();
            assert_eq!(ignore.matches(path), *expected, "{lines:?} on {path}");
        }
    }

    #[test]
    fn comments_empty_lines_and_a_byte_order_mark_are_skipped() {
        let ignore = DockerIgnore::parse("\u{feff}a\n\n# comment\r\n  \r\nb\r\n!b/keep\n").unwrap();
        assert!(ignore.matches("a") && ignore.matches("b/x") && !ignore.matches("b/keep"));
        assert!(ignore.may_readmit());
    }

    #[test]
    fn what_is_no_pattern_is_refused_by_name() {
        for bad in ["!", "a[", "a[b", "a\\", "[]a", "[z-a"] {
            let error = DockerIgnore::parse(bad).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_more_time_than_a_plain_one() {
        let ignore = DockerIgnore::parse(&"*a".repeat(200)).unwrap();
        let started = std::time::Instant::now();
        assert!(!ignore.matches(&"a".repeat(1000).replace("aaaaaaaaaa", "aaaaaaaaab")));
        assert!(started.elapsed().as_secs() < 2);
    }
}
