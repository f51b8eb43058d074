//! `.env` files, read and written.

/// A line that is no `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {problem}")]
pub(crate) struct InvalidLine {
    line: usize,
    problem: &'static str,
}

/// Reads `KEY=VALUE` lines: `export` in front, comments, single quotes (as they are), double quotes (with
/// `\n`, `\"`, `\\`, and over several lines).
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, InvalidLine> {
    let mut pairs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let wrong = |problem| InvalidLine { line: index + 1, problem };
        let line = line.trim_start();
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=').ok_or_else(|| wrong("has no `=`"))?;
        let key = key.trim();
        if key.is_empty() {
            return Err(wrong("has no name before `=`"));
        }
        let value = value.trim_start();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut whole = value[1..].to_owned();
                while end_of(&whole, quote).is_none() {
                    let (_, next) = lines.next().ok_or_else(|| wrong("has a quote without its pair"))?;
                    whole.push('\n');
                    whole.push_str(next);
                }
                let end = end_of(&whole, quote).expect("the loop ends with one");
                if quote == '"' { unescaped(&whole[..end]) } else { whole[..end].to_owned() }
            }
            _ => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
        };
        pairs.push((key.to_owned(), value));
    }
    Ok(pairs)
}

fn end_of(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => value.push('\n'),
            ('\\', Some('r')) => value.push('\r'),
            ('\\', Some('t')) => value.push('\t'),
            ('\\', Some(c @ ('"' | '\\' | '$'))) => value.push(c),
            ('\\', Some(other)) => value.extend(['\\', other]),
            (c, _) => value.push(c),
        }
    }
    value
}

/// Returns one line that [`parse`] reads back.
pub(crate) fn line(key: &str, value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:@,+%".contains(&b);
    if !value.is_empty() && value.bytes().all(plain) {
        return format!("{key}={value}");
    }
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('$', "\\$")
        .replace('\n', "\\n")
        .replace('\r', "\\r");
    format!("{key}=\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_as_people_write_them_are_read() {
        let text =
            "# c\nA=1\nexport B = two words # note\nC='$x \\n'\nD=\"a\\n\\\"b\\\"\"\nE=\"one\ntwo\"\nF=\n";
        let pairs = parse(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$x \\n"),
            ("D", "a\n\"b\""),
            ("E", "one\ntwo"),
            ("F", ""),
        ];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(parse("A=1\nnope").unwrap_err().to_string(), "line 2 has no `=`");
        assert!(parse("A=\"x").is_err());
    }

    #[test]
    fn every_value_survives_writing_and_reading() {
        for value in ["", "a", "a b", "\"", "'", "$(id)`x`", "l1\nl2\r\n", "\\n", "#x", "ü = 1"] {
            assert_eq!(parse(&line("K", value)).unwrap(), [("K".to_owned(), value.to_owned())], "{value:?}");
        }
    }
}
