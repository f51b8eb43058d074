//! One line of the engine's log, which begins with the time at which the engine got it.

use bollard::container::LogOutput;
use bytes::Bytes;
use panda_deployer::runtime::{LogChunk, LogStream};

use super::Source;

/// Reads a line; `None` for what isn't output. Lines beyond 16 kB come in pieces of that size, as the engine keeps them.
pub(super) fn read(source: &Source, output: LogOutput) -> Option<LogChunk> {
    let (stream, message) = match output {
        LogOutput::StdOut { message } | LogOutput::Console { message } => (LogStream::Out, message),
        LogOutput::StdErr { message } => (LogStream::Err, message),
        LogOutput::StdIn { .. } => return None,
    };
    let space = message.iter().position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(&message[..space]).ok()?.parse().ok()?;
    let line = trim_end(&message.slice(space + 1..));
    Some(LogChunk { at, instance: source.instance.clone(), process: source.process.clone(), stream, line })
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
        let source = Source { container: "c".into(), instance: None, process: "web".into() };
        let message = Bytes::from_static(b"2026-01-01T00:00:00.123456789Z  two spaces \r\n");
        let chunk = read(&source, LogOutput::StdErr { message }).unwrap();
        assert_eq!((chunk.line.as_ref(), chunk.stream), (&b" two spaces "[..], LogStream::Err));
        assert_eq!(chunk.at.to_string(), "2026-01-01T00:00:00.123456789Z");
    }
}
