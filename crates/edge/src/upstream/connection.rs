//! A connection to an instance, with what was read from it and not yet used.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::instance::Instance;
use crate::protocol::UpstreamAddress;

const FIRST_READ_BYTES: usize = 8 << 10;
const LARGEST_READ_BYTES: usize = 64 << 10;

/// A byte stream to an instance.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that carries one exchange at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) instance: Arc<Instance>,
    pub(crate) read: BytesMut,
    /// Head of the request being sent; kept for its capacity.
    pub(crate) head: Vec<u8>,
    pub(crate) idle_since: Instant,
    /// Whether it carried an exchange before, so that the instance may have closed it meanwhile.
    pub(crate) reused: bool,
    read_bytes: usize,
}

impl Connection {
    /// Connects within the deadline.
    pub(crate) async fn open(instance: Arc<Instance>, deadline: Duration) -> io::Result<Box<Self>> {
        let connecting = async {
            match &instance.address {
                UpstreamAddress::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Ok(Stream::Tcp(stream))
                }
                UpstreamAddress::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
            }
        };
        let stream = tokio::time::timeout(deadline, connecting)
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))?;
        Ok(Box::new(Self {
            stream,
            instance,
            read: BytesMut::new(),
            head: Vec::with_capacity(1024),
            idle_since: Instant::now(),
            reused: false,
            read_bytes: FIRST_READ_BYTES,
        }))
    }

    /// Reads more into the buffer; 0 means the instance closed its side.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.read_bytes);
        let capacity = self.read.capacity() - self.read.len();
        let outcome = tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read);
        if let Poll::Ready(Ok(count)) = outcome
            && count == capacity
        {
            self.read_bytes = (self.read_bytes * 2).min(LARGEST_READ_BYTES);
        }
        outcome
    }

    /// Returns whether an idle connection may carry another exchange: nothing came while it was idle,
    /// neither the end nor bytes that nobody asked for.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if !self.read.is_empty() {
            return false;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let ready = match &self.stream {
            Stream::Tcp(stream) => stream.poll_read_ready(&mut cx),
            Stream::Unix(stream) => stream.poll_read_ready(&mut cx),
        };
        if ready.is_pending() {
            return true;
        }
        // Readiness may be left over from before; only a read tells, and it costs a call only then.
        let mut byte = [0_u8; 1];
        let outcome = match &self.stream {
            Stream::Tcp(stream) => stream.try_read(&mut byte),
            Stream::Unix(stream) => stream.try_read(&mut byte),
        };
        matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
