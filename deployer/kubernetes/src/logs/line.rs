//! One line of a node's log, which begins with the time at which the node got it.

use bytes::Bytes;
use panda_deployer::runtime::{LogChunk, LogStream};

use super::Source;

/// Reads a line; `None` for what isn't output.
pub(super) fn read(source: &Source, line: Vec<u8>) -> Option<LogChunk> {
    let line = Bytes::from(line);
    let space = line.iter().position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    Some(LogChunk {
        at,
        instance: source.instance.clone(),
        process: source.process.clone(),
        stream: LogStream::Out,
        line: trim_end(&line.slice(space + 1..)),
    })
}

fn trim_end(line: &Bytes) -> Bytes {
    let end = line.strip_suffix(b"\n").unwrap_or(line);
    let end = end.strip_suffix(b"\r").unwrap_or(end);
    line.slice(..end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_loses_its_time_and_its_end_and_nothing_else() {
        let source = Source {
            namespace: "n".into(),
            pod: "p".into(),
            instance: None,
            process: "web".into(),
            previous: false,
        };
        let chunk = read(&source, b"2026-01-01T00:00:00.123456789Z  two spaces \r\n".to_vec()).unwrap();
        assert_eq!(chunk.line.as_ref(), b" two spaces ");
        assert_eq!(chunk.at.to_string(), "2026-01-01T00:00:00.123456789Z");
        assert!(read(&source, b"unable to retrieve container logs".to_vec()).is_none());
    }
}
