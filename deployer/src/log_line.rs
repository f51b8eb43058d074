//! A line of a log as engines and nodes keep it: the time at which they got it, a space, the line.

use bytes::Bytes;
use jiff::Timestamp;

/// Returns the time and the line without its end, `None` for what doesn't begin with a time.
pub fn split(kept: &Bytes) -> Option<(Timestamp, Bytes)> {
    let space = kept.iter().position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(&kept[..space]).ok()?.parse().ok()?;
    let line = &kept[space + 1..];
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Some((at, kept.slice_ref(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_loses_its_time_and_its_end_and_nothing_else() {
        let kept = Bytes::from_static(b"2026-01-01T00:00:00.123456789Z  two spaces \r\n");
        let (at, line) = split(&kept).unwrap();
        assert_eq!(
            (at.to_string().as_str(), line.as_ref()),
            ("2026-01-01T00:00:00.123456789Z", &b" two spaces "[..])
        );
        assert!(split(&Bytes::from_static(b"unable to retrieve container logs")).is_none());
        assert_eq!(split(&Bytes::from_static(b"2026-01-01T00:00:00Z \n")).unwrap().1.len(), 0);
    }
}
