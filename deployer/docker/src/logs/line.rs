//! One line of the engine's log, which begins with the time at which the engine got it.

use bollard::container::LogOutput;
use panda_deployer::log_line;
use panda_deployer::runtime::{LogChunk, LogStream};

use super::Source;

/// Reads a line; `None` for what isn't output. Lines beyond 16 kB come in pieces of that size, as the engine keeps them.
pub(super) fn read(source: &Source, output: LogOutput) -> Option<LogChunk> {
    let (stream, message) = match output {
        LogOutput::StdOut { message } | LogOutput::Console { message } => (LogStream::Out, message),
        LogOutput::StdErr { message } => (LogStream::Err, message),
        LogOutput::StdIn { .. } => return None,
    };
    let (at, line) = log_line::split(&message)?;
    Some(LogChunk { at, instance: source.instance.clone(), process: source.process.clone(), stream, line })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_line_is_told_with_its_stream_and_its_time() {
        let source = Source { container: "c".into(), instance: None, process: "web".into() };
        let message = Bytes::from_static(b"2026-01-01T00:00:00.123456789Z  two spaces \r\n");
        let chunk = read(&source, LogOutput::StdErr { message }).unwrap();
        assert_eq!((chunk.line.as_ref(), chunk.stream), (&b" two spaces "[..], LogStream::Err));
        assert_eq!(chunk.at.to_string(), "2026-01-01T00:00:00.123456789Z");
    }
}
