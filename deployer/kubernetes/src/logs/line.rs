//! One line of a node's log, which begins with the time at which the node got it.

use bytes::Bytes;
use panda_deployer::log_line;
use panda_deployer::runtime::{LogChunk, LogStream};

use super::Source;

/// Reads a line; `None` for what isn't output.
pub(super) fn read(source: &Source, line: Vec<u8>) -> Option<LogChunk> {
    let (at, line) = log_line::split(&Bytes::from(line))?;
    let (instance, process) = (source.instance.clone(), source.process.clone());
    Some(LogChunk { at, instance, process, stream: LogStream::Out, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_and_what_isnt_output_isnt() {
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
