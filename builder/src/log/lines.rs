//! Cuts a step's output into lines, none longer than a page can bear.

use super::Mask;

/// Longest line that is kept, in bytes; the rest of it is counted.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// The unfinished line of one stream of one step.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    pending: Vec<u8>,
    /// Bytes of this line beyond the limit.
    cut: u64,
}

impl LineBuffer {
    /// Adds output and returns the lines it completes, masked.
    pub(crate) fn push(&mut self, bytes: &[u8], mask: &Mask) -> Vec<String> {
        let mut lines = Vec::new();
        for (place, piece) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if place > 0 {
                lines.extend(self.finish(mask, true));
            }
            // A secret that crosses the limit has to be seen whole to be masked.
            let room = (MAX_LINE_BYTES + mask.longest()).saturating_sub(self.pending.len());
            let kept = &piece[..piece.len().min(room)];
            self.pending.extend_from_slice(kept);
            self.cut += (piece.len() - kept.len()) as u64;
        }
        lines
    }

    /// Returns what is left when the step ends.
    pub(crate) fn flush(&mut self, mask: &Mask) -> Option<String> {
        self.finish(mask, false)
    }

    fn finish(&mut self, mask: &Mask, ended: bool) -> Option<String> {
        let (bytes, cut) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.cut));
        if bytes.is_empty() && !ended {
            return None;
        }
        let text = mask.apply(String::from_utf8_lossy(&bytes).trim_end_matches('\r'));
        if cut == 0 && text.len() <= MAX_LINE_BYTES {
            return Some(text);
        }
        let mut end = text.len().min(MAX_LINE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let cut = cut + (text.len() - end) as u64;
        Some(format!("{} … ({cut} bytes cut)", &text[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use panda_domain::secret::Secret;

    #[test]
    fn output_in_any_pieces_gives_the_same_lines() {
        let mut buffer = LineBuffer::default();
        let mask = Mask::default();
        assert_eq!(buffer.push(b"one\ntw", &mask), ["one"]);
        assert_eq!(buffer.push(b"o\r\n\nthree", &mask), ["two", ""]);
        assert_eq!(buffer.flush(&mask).as_deref(), Some("three"));
        assert_eq!(buffer.flush(&mask), None);
    }

    #[test]
    fn a_line_of_100_mb_is_cut_and_says_so() {
        let mut buffer = LineBuffer::default();
        let mask = Mask::default();
        for _ in 0..100 {
            assert!(buffer.push(&vec![b'x'; 1 << 20], &mask).is_empty());
            assert!(buffer.pending.capacity() < 64 * 1024);
        }
        let lines = buffer.push(b"\nnext\n", &mask);
        assert!(
            lines[0].len() < MAX_LINE_BYTES + 60 && lines[0].ends_with("(104841216 bytes cut)"),
            "{}",
            lines[0].len()
        );
        assert_eq!(lines[1], "next");
    }

    #[test]
    fn a_secret_at_the_cut_is_masked_whole() {
        let mask = Mask::new(&[Secret::new("hunter2hunter2")]);
        let mut buffer = LineBuffer::default();
        let line = format!("{}hunter2hunter2 tail\n", "x".repeat(MAX_LINE_BYTES - 3));
        let lines = buffer.push(line.as_bytes(), &mask);
        assert!(!lines[0].contains("hun"), "{}", &lines[0][lines[0].len() - 60..]);
    }
}
