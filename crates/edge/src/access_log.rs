//! The access log: JSON lines, written by a thread of its own; requests never wait for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

const QUEUE_LINES: usize = 16 << 10;
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// Where access lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file that is renamed to `<name>.1` when it has reached the size, in bytes.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Size at which a new file is begun.
        limit_bytes: u64,
    },
}

/// One line. Serialised as JSON, which escapes control characters.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Entry {
    pub(crate) at_ms: u64,
    pub(crate) client: String,
    pub(crate) method: String,
    pub(crate) scheme: &'static str,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) version: &'static str,
    pub(crate) app: String,
    pub(crate) route: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
    /// Absent if the client left before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    pub(crate) bytes: u64,
    pub(crate) micros: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upstream: Option<String>,
    /// Whether the answer broke off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cut: bool,
}

/// Returns milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The sending end; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// Starts the writing thread, which ends when the last sender is dropped.
    pub(crate) fn start(target: &AccessLogTarget) -> io::Result<Option<(Self, JoinHandle<()>)>> {
        let output = match target {
            AccessLogTarget::Off => return Ok(None),
            AccessLogTarget::Stdout => Output::Stdout(io::stdout()),
            AccessLogTarget::File { path, limit_bytes } => Output::open(path, *limit_bytes)?,
        };
        let (lines, queue) = sync_channel(QUEUE_LINES);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(&queue, output))?;
        Ok(Some((Self { lines, dropped: Arc::default() }, thread)))
    }

    /// Hands a line over, or drops and counts it if the writer is too far behind.
    pub(crate) fn write(&self, entry: &Entry) {
        let mut line = Vec::with_capacity(384);
        if serde_json::to_writer(&mut line, entry).is_err() {
            return;
        }
        escape_rest(&mut line);
        line.push(b'\n');
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Returns how many lines were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// Escapes what JSON lets through and terminals obey: DEL, and the controls from U+0080 to U+009F.
fn escape_rest(line: &mut Vec<u8>) {
    use std::fmt::Write as _;
    let is_c1 = |pair: &[u8]| pair[0] == 0xc2 && pair[1] < 0xa0;
    if !line.contains(&0x7f) && !line.windows(2).any(is_c1) {
        return;
    }
    let text = String::from_utf8_lossy(line);
    let mut escaped = String::with_capacity(line.len() + 16);
    for letter in text.chars() {
        if letter.is_control() {
            let _ = write!(escaped, "\\u{:04x}", u32::from(letter));
        } else {
            escaped.push(letter);
        }
    }
    *line = escaped.into_bytes();
}

enum Output {
    Stdout(io::Stdout),
    File { file: BufWriter<File>, path: PathBuf, written: u64, limit: u64 },
}

impl Output {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
        let written = file.metadata()?.len();
        Ok(Self::File {
            file: BufWriter::with_capacity(64 << 10, file),
            path: path.to_owned(),
            written,
            limit,
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(line),
            Self::File { file, path, written, limit } => {
                if *written > 0 && *written + line.len() as u64 > *limit {
                    file.flush()?;
                    fs::rename(&*path, path.with_added_extension("1"))?;
                    let (path, limit) = (path.clone(), *limit);
                    *self = Self::open(&path, limit)?;
                    return self.write(line);
                }
                *written += line.len() as u64;
                file.write_all(line)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File { file, .. } => file.flush(),
        }
    }
}

fn write_lines(queue: &Receiver<Vec<u8>>, mut output: Output) {
    use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
    let mut failing = false;
    loop {
        let outcome = match queue.recv_timeout(FLUSH_EVERY) {
            Ok(line) => output.write(&line),
            Err(Timeout) => output.flush(),
            Err(Disconnected) => {
                let _ = output.flush();
                return;
            }
        };
        // Said once, not per line: a full disk would otherwise fill the other log too.
        match outcome {
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "failed to write the access log");
            }
            Ok(()) => failing = false,
            Err(_) => {}
        }
    }
}
