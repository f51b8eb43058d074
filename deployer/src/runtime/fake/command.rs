//! The few shell words that the fake understands, so that release commands and execs can be tried.

use std::time::Duration;

/// What a command does: prints, takes its time, ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) prints: Vec<String>,
    pub(super) takes: Duration,
    pub(super) code: i64,
}

impl Script {
    /// Reads `sh -c "echo a; sleep 2; exit 3"`; anything else prints itself and ends well.
    pub(super) fn read(argv: &[String]) -> Self {
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let ["sh", "-c", text] = words[..] else {
            return Self { prints: vec![argv.join(" ")], ..Self::default() };
        };
        let mut script = Self::default();
        for step in text.split(';').map(str::trim) {
            let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
            match verb {
                "echo" => script.prints.push(rest.to_owned()),
                "sleep" => script.takes += Duration::from_secs(rest.parse().unwrap_or(0)),
                "exit" => {
                    script.code = rest.parse().unwrap_or(0);
                    break;
                }
                _ => {}
            }
        }
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_prints_takes_its_time_and_ends() {
        let argv = ["sh", "-c", "echo hello; sleep 2; exit 3; echo never"].map(str::to_owned);
        let script = Script::read(&argv);
        assert_eq!(script, Script { prints: vec!["hello".into()], takes: Duration::from_secs(2), code: 3 });
    }
}
