//! A client's connection as it is watched: who is slow, who is idle, and what exactly was received.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::shared::{Limits, Shared};

const RECORD_LIMIT_BYTES: usize = 64 << 10;
const NOTHING: u8 = 0;
const FINISH: u8 = 1;
const CUT: u8 = 2;

/// What a connection is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// End after the answers in progress.
    Finish,
    /// End now.
    Cut,
}

/// What is known about one client connection. A sweep looks at it once a second, so that no request
/// needs a timer for the client's side.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) peer: IpAddr,
    pub(crate) peer_text: String,
    pub(crate) is_tls: bool,
    is_h2: AtomicBool,
    in_flight: AtomicU32,
    reading_head: AtomicBool,
    /// When the present state began.
    since_ms: AtomicU64,
    write_blocked_ms: AtomicU64,
    command: AtomicU8,
    waker: AtomicWaker,
    /// What came since the last request, for checks that need the bytes as they were.
    record: Mutex<Vec<u8>>,
}

impl Watch {
    pub(crate) fn new(peer: IpAddr, is_tls: bool, now_ms: u64) -> Self {
        let peer = peer.to_canonical();
        Self {
            peer,
            peer_text: peer.to_string(),
            is_tls,
            is_h2: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            reading_head: AtomicBool::new(true),
            since_ms: AtomicU64::new(now_ms),
            write_blocked_ms: AtomicU64::new(0),
            command: AtomicU8::new(NOTHING),
            waker: AtomicWaker::new(),
            record: Mutex::default(),
        }
    }

    pub(crate) fn speaks_h2(&self) {
        self.is_h2.store(true, Relaxed);
    }

    pub(crate) fn is_h2(&self) -> bool {
        self.is_h2.load(Relaxed)
    }

    /// Notes that a request begins; it ends when the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>, shared: &Arc<Shared>) -> Busy {
        self.in_flight.fetch_add(1, Relaxed);
        self.reading_head.store(false, Relaxed);
        Busy { watch: Arc::clone(self), shared: Arc::clone(shared) }
    }

    /// Returns what was received since the last call, up to a bound.
    pub(crate) fn take_record<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = look(&record);
        record.clear();
        record.shrink_to(8 << 10);
        outcome
    }

    /// Returns whether the client used up its time.
    pub(crate) fn is_overdue(&self, now_ms: u64, limits: &Limits) -> bool {
        let over = |since: u64, limit: std::time::Duration| {
            u128::from(now_ms.saturating_sub(since)) > limit.as_millis()
        };
        let blocked = self.write_blocked_ms.load(Relaxed);
        if blocked != 0 && over(blocked, limits.write_timeout) {
            return true;
        }
        if self.in_flight.load(Relaxed) > 0 {
            return false;
        }
        let waiting = self.reading_head.load(Relaxed) && !self.is_h2.load(Relaxed);
        over(self.since_ms.load(Relaxed), if waiting { limits.header_timeout } else { limits.keep_alive })
    }

    /// Asks the connection for something.
    pub(crate) fn send(&self, command: Command) {
        let code = match command {
            Command::Finish => FINISH,
            Command::Cut => CUT,
        };
        self.command.fetch_max(code, Relaxed);
        self.waker.wake();
    }

    /// Returns what was asked for beyond `done`.
    pub(crate) fn poll_command(&self, cx: &mut Context<'_>, done: Option<Command>) -> Poll<Command> {
        self.waker.register(cx.waker());
        match self.command.load(Relaxed) {
            CUT => Poll::Ready(Command::Cut),
            FINISH if done.is_none() => Poll::Ready(Command::Finish),
            _ => Poll::Pending,
        }
    }

    fn received(&self, bytes: &[u8], now_ms: impl FnOnce() -> u64) {
        if self.is_h2.load(Relaxed) {
            return;
        }
        if self.in_flight.load(Relaxed) == 0 && !self.reading_head.swap(true, Relaxed) {
            self.since_ms.store(now_ms(), Relaxed);
        }
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let room = RECORD_LIMIT_BYTES.saturating_sub(record.len());
        record.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A request in progress on a connection.
#[derive(Debug)]
pub(crate) struct Busy {
    watch: Arc<Watch>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.watch.in_flight.fetch_sub(1, Relaxed) == 1 {
            self.watch.since_ms.store(self.shared.now_ms(), Relaxed);
        }
    }
}

/// A client's byte stream that reports to its [`Watch`].
pub(crate) struct ClientIo<S> {
    stream: S,
    watch: Arc<Watch>,
    shared: Arc<Shared>,
}

impl<S> ClientIo<S> {
    pub(crate) fn new(stream: S, watch: Arc<Watch>, shared: Arc<Shared>) -> Self {
        Self { stream, watch, shared }
    }

    fn note_write<T>(&self, outcome: &Poll<io::Result<T>>) {
        let blocked = self.watch.write_blocked_ms.load(Relaxed);
        if outcome.is_ready() {
            if blocked != 0 {
                self.watch.write_blocked_ms.store(0, Relaxed);
            }
        } else if blocked == 0 {
            self.watch.write_blocked_ms.store(self.shared.now_ms(), Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let before = buf.filled().len();
        let outcome = Pin::new(&mut io.stream).poll_read(cx, buf);
        let received = &buf.filled()[before..];
        if !received.is_empty() {
            io.watch.received(received, || io.shared.now_ms());
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let outcome = Pin::new(&mut io.stream).poll_write(cx, buf);
        io.note_write(&outcome);
        outcome
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let outcome = Pin::new(&mut io.stream).poll_write_vectored(cx, bufs);
        io.note_write(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let outcome = Pin::new(&mut io.stream).poll_flush(cx);
        io.note_write(&outcome);
        outcome
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
