//! Refuses texts that would make a very deep tree, before they are parsed.
//!
//! The parser limits the dots of one key and the nesting of brackets, but the two multiply: 80 levels of
//! inline tables with 80 dots each overflow a stack when the tree is dropped.

/// The most dots in one key; the grammar needs five.
const MAX_DOTS: usize = 16;

/// Returns the offset of the first key that has too many parts.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut dots) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'#' => {
                at = line_end(bytes, at);
                continue;
            }
            quote @ (b'"' | b'\'') => {
                at = string_end(bytes, at, quote);
                continue;
            }
            b'=' | b',' | b'{' | b'}' | b'[' | b']' | b'\n' => dots = 0,
            b'.' => dots += 1,
            _ => {}
        }
        if dots > MAX_DOTS {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |length| from + length)
}

/// Returns where the string that starts at `from` is over; at the line's end if it isn't closed.
fn string_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    let triple = [quote; 3];
    let long = bytes[from..].starts_with(&triple);
    let mut at = from + if long { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' && bytes.get(at + 1) != Some(&b'\n') => at += 1,
            b'\n' if !long => return at,
            b if b == quote && !long => return at + 1,
            b if b == quote && bytes[at..].starts_with(&triple) => return at + 3,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::too_deep;

    #[test]
    fn dots_count_in_keys_and_not_in_texts() {
        let dots = vec!["a"; 30].join(".");
        assert!(too_deep(&format!("x = 1\n{dots} = 1")).is_some());
        assert!(too_deep(&format!("[{}]", vec!["\"a\""; 30].join(" . "))).is_some());
        for fine in [
            format!("x = \"{dots}\""),
            format!("x = '{dots}' # {dots}"),
            format!("x = \"\"\"\n{dots}\n\"\n\"\"\""),
            format!("x = \"\\\"{dots}\""),
        ] {
            assert_eq!(too_deep(&fine), None, "{fine}");
        }
    }
}
