//! Commands: text or argv in, argv out.
//!
//! Many images have no shell, so a text is split into words here and runs directly. Only a text that
//! needs a shell (variables, pipes, globs) gets `/bin/sh -c`; a lone program behind it is `exec`ed, so
//! that it receives the stop signal itself.

use super::error::{Fault, shown};
use super::tree::{Node, Value};

/// The longest command, bytes.
const MAX_COMMAND: usize = 8 << 10;
/// Words that only a shell knows.
const SHELL_WORDS: [&str; 22] = [
    "cd", "export", "set", "unset", "exec", "eval", "if", "for", "while", "until", "case", "source", ".",
    "trap", "ulimit", "umask", "wait", "test", "[", "alias", "readonly", "shift",
];

/// A text that can't be made into a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCommand(pub &'static str);

/// Turns a command line into argv; `None` when it is blank.
pub fn argv_of(text: &str) -> Result<Option<Vec<String>>, InvalidCommand> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    check(text)?;
    let first = text.split_whitespace().next().unwrap_or_default();
    let assigns = first.split_once('=').is_some_and(|(name, _)| is_name(name));
    let needs = Needs::of(text);
    if needs.control || assigns || SHELL_WORDS.contains(&first) {
        return Ok(Some(shell(text.to_owned())));
    }
    if needs.expansion {
        return Ok(Some(shell(format!("exec {text}"))));
    }
    match shell_words::split(text) {
        Ok(words) if words.first().is_some_and(|word| !word.is_empty()) => Ok(Some(words)),
        Ok(_) => Err(InvalidCommand("has an empty program name")),
        Err(_) => Err(InvalidCommand("has a quote without its pair")),
    }
}

/// Reads a command from the file: a text or a list of words.
pub(super) fn command(node: &Node) -> Result<Option<Vec<String>>, Fault> {
    let fix = "use a text, or a list such as [\"node\", \"server.js\"]";
    match &node.value {
        Value::Text(text) => {
            argv_of(text).map_err(|error| Fault::invalid(format!("is {}, which {error}", shown(text)), fix))
        }
        Value::List(items) => {
            let mut argv = Vec::new();
            for item in items {
                let Value::Text(word) = &item.value else {
                    let cause = format!("has {} among its words", item.value.shown());
                    return Err(Fault::invalid(cause, fix));
                };
                check(word)
                    .map_err(|error| Fault::invalid(format!("has {}, which {error}", shown(word)), fix))?;
                argv.push(word.clone());
            }
            if argv.len() > 200 {
                return Err(Fault::invalid("has more than 200 words", fix));
            }
            if argv.first().is_some_and(String::is_empty) {
                return Err(Fault::invalid("has an empty program name", fix));
            }
            Ok(if argv.is_empty() { None } else { Some(argv) })
        }
        other => Err(Fault::invalid(format!("is {}, no command", other.shown()), fix)),
    }
}

fn check(text: &str) -> Result<(), InvalidCommand> {
    if text.len() > MAX_COMMAND {
        return Err(InvalidCommand("is longer than 8 kB"));
    }
    if text.contains('\0') {
        return Err(InvalidCommand("has a NUL character"));
    }
    Ok(())
}

fn shell(script: String) -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned(), script]
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What of a shell a command line uses, quotes respected.
#[derive(Default)]
struct Needs {
    /// More than one program, or redirection.
    control: bool,
    /// Variables, globs, `~`.
    expansion: bool,
}

impl Needs {
    fn of(text: &str) -> Self {
        let mut needs = Self::default();
        let (mut single, mut double, mut escaped) = (false, false, false);
        for c in text.chars() {
            if escaped {
                escaped = false;
                continue;
            }
            match c {
                '\\' if !single => escaped = true,
                '\'' if !double => single = !single,
                '"' if !single => double = !double,
                '`' if !single => needs.control = true,
                '$' if !single => needs.expansion = true,
                '|' | '&' | ';' | '<' | '>' | '(' | ')' | '\n' if !single && !double => needs.control = true,
                '*' | '?' | '[' | '{' | '~' | '#' if !single && !double => needs.expansion = true,
                _ => {}
            }
        }
        needs.control |= text.contains("$(") && needs.expansion;
        needs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(text: &str) -> Vec<String> {
        argv_of(text).unwrap().unwrap()
    }

    #[test]
    fn a_plain_command_runs_without_a_shell() {
        assert_eq!(argv("node server.js --name 'a b'"), ["node", "server.js", "--name", "a b"]);
        assert_eq!(argv("echo '$HOME; *'"), ["echo", "$HOME; *"]);
        assert_eq!(argv_of("  ").unwrap(), None);
    }

    #[test]
    fn shell_syntax_gets_a_shell_that_hands_over_to_the_program() {
        assert_eq!(argv("gunicorn -b 0.0.0.0:$PORT app")[2], "exec gunicorn -b 0.0.0.0:$PORT app");
        assert_eq!(argv("a && b")[2], "a && b");
        assert_eq!(argv("A=1 node x")[2], "A=1 node x");
        assert_eq!(argv("cd api; node $X")[2], "cd api; node $X");
        assert_eq!(argv("x $(date)")[..2], ["/bin/sh", "-c"]);
    }

    #[test]
    fn broken_commands_are_refused() {
        for bad in ["node 'x", "a\0b", "'' x", &"a".repeat(9000)] {
            assert!(argv_of(bad).is_err(), "{bad:?}");
        }
    }
}
