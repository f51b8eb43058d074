//! Output of servers and apps is data: no control codes reach the terminal, except colours.

/// What happens to colours (SGR sequences).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    /// They stay.
    Keep,
    /// They go, like every other sequence.
    Drop,
}

impl Colours {
    /// Returns what happens to colours where they may or may not be shown.
    pub(crate) fn kept_if(shown: bool) -> Self {
        if shown { Self::Keep } else { Self::Drop }
    }
}

/// Takes out control codes: escape sequences other than colours, carriage returns, bells, and the marks
/// that turn the direction of writing. Line breaks and tabs stay.
pub(crate) fn clean(text: &str, colours: Colours) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    let mut coloured = false;
    while let Some(c) = rest.chars().next() {
        if matches!(c, '\u{1b}' | '\u{9b}') {
            let (sequence, length) = sequence(rest);
            if colours == Colours::Keep && sequence == Sequence::Colour {
                clean.push_str(&rest[..length]);
                coloured = true;
            }
            rest = &rest[length..];
            continue;
        }
        if matches!(c, '\n' | '\t') || !(c.is_control() || is_direction(c)) {
            clean.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    if coloured && !clean.ends_with("\u{1b}[0m") {
        clean.push_str("\u{1b}[0m");
    }
    clean
}

#[derive(PartialEq, Eq)]
enum Sequence {
    Colour,
    Other,
}

/// Returns the kind and the length of the sequence that `text` starts with.
fn sequence(text: &str) -> (Sequence, usize) {
    let mut chars = text.char_indices().skip(1);
    let start = if text.starts_with('\u{9b}') { Some((0, '[')) } else { chars.next() };
    match start {
        Some((_, '[')) => {
            for (at, c) in chars {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    let length = at + c.len_utf8();
                    let inner = text[..at].trim_start_matches(['\u{1b}', '\u{9b}', '[']);
                    let plain =
                        text.starts_with("\u{1b}[") && inner.bytes().all(|b| b.is_ascii_digit() || b == b';');
                    return (if c == 'm' && plain { Sequence::Colour } else { Sequence::Other }, length);
                }
                if c.is_control() {
                    return (Sequence::Other, at);
                }
            }
            (Sequence::Other, text.len())
        }
        // Strings (titles, clipboard, links) end with BEL or ESC \; an open one swallows the line.
        Some((_, ']' | 'P' | 'X' | '^' | '_')) => {
            for (at, c) in chars {
                match c {
                    '\u{7}' | '\u{9c}' => return (Sequence::Other, at + c.len_utf8()),
                    '\u{1b}' if text[at..].starts_with("\u{1b}\\") => return (Sequence::Other, at + 2),
                    '\n' => return (Sequence::Other, at),
                    _ => {}
                }
            }
            (Sequence::Other, text.len())
        }
        Some((at, c)) if !c.is_control() => (Sequence::Other, at + c.len_utf8()),
        _ => (Sequence::Other, 1),
    }
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_taken_out() {
        for (hostile, seen) in [
            ("a\u{1b}]52;c;ZXZpbA==\u{7}b", "ab"),
            ("\u{1b}]8;;http://evil\u{1b}\\click\u{1b}]8;;\u{1b}\\", "click"),
            ("\u{1b}]0;title", ""),
            ("good\rbad", "goodbad"),
            ("\u{1b}[2J\u{1b}[Hx", "x"),
            ("\u{9b}31mx", "x"),
            ("\u{1b}cx", "x"),
            ("\u{1b}Pdata\u{1b}\\x", "x"),
            ("a\u{202e}b\u{2066}c", "abc"),
            ("bell\u{7} back\u{8}", "bell back"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}[31", ""),
            ("tab\tline\nü", "tab\tline\nü"),
        ] {
            assert_eq!(clean(hostile, Colours::Drop), seen, "{hostile:?}");
        }
    }

    #[test]
    fn colours_stay_where_they_are_wanted_and_are_ended() {
        assert_eq!(clean("\u{1b}[31mred", Colours::Keep), "\u{1b}[31mred\u{1b}[0m");
        assert_eq!(clean("\u{1b}[1;31mred\u{1b}[0m", Colours::Keep), "\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m", Colours::Drop), "red");
        assert_eq!(clean("\u{1b}[?25lx", Colours::Keep), "x");
    }
}
