//! One request and the head of its answer over one connection.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};

use super::connection::Connection;
use super::request::{Upload, UploadError};
use super::response::{self, Head, HeadError};

/// Says how an exchange failed before the answer's head was there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The connection broke before a byte of the answer.
    #[error("talk to the instance")]
    Broken {
        #[source]
        source: io::Error,
        /// Whether the instance can't have seen the whole head.
        unsent: bool,
    },
    /// The connection broke within the answer's head.
    #[error("read the head of the answer")]
    CutShort,
    #[error("read the head of the answer")]
    Head(#[source] HeadError),
    #[error("wait {} ms for the answer", .0.as_millis())]
    Timeout(Duration),
    #[error("the client stopped sending its request's body")]
    Stalled,
    #[error(transparent)]
    Upload(UploadError),
}

/// Sends the head in `connection.head`, then the body, and returns the head of the final answer.
///
/// The deadline runs from the last progress of the request's body to the answer's first byte.
pub(crate) async fn exchange(
    connection: &mut Connection,
    method: &Method,
    upload: &mut Option<Upload>,
    deadline: Duration,
) -> Result<Head, Failure> {
    let mut timer = pin!(tokio::time::sleep(deadline));
    let mut sending = Sending { written: 0, uploaded: upload.is_none(), waits_for_client: false };
    poll_fn(|cx| {
        let before = upload.as_ref().map_or(0, |upload| upload.bytes);
        match sending.poll_send(cx, connection, upload.as_mut()) {
            Ok(()) => {}
            Err(failure) => return Poll::Ready(Err(failure)),
        }
        if upload.as_ref().is_some_and(|upload| upload.bytes > before) {
            timer.as_mut().reset(Instant::now() + deadline);
        }
        if let Poll::Ready(outcome) = poll_head(cx, connection, method) {
            return Poll::Ready(outcome.map_err(|failure| sending.blame(failure, connection)));
        }
        poll_deadline(cx, timer.as_mut(), &sending, deadline)
    })
    .await
}

fn poll_deadline(
    cx: &mut Context<'_>,
    timer: Pin<&mut Sleep>,
    sending: &Sending,
    deadline: Duration,
) -> Poll<Result<Head, Failure>> {
    match timer.poll(cx) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(()) if sending.waits_for_client => Poll::Ready(Err(Failure::Stalled)),
        Poll::Ready(()) => Poll::Ready(Err(Failure::Timeout(deadline))),
    }
}

/// How far the request got.
struct Sending {
    written: usize,
    uploaded: bool,
    waits_for_client: bool,
}

impl Sending {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        upload: Option<&mut Upload>,
    ) -> Result<(), Failure> {
        while self.written < connection.head.len() {
            let rest = &connection.head[self.written..];
            match Pin::new(&mut connection.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => {
                    return Err(Failure::Broken { source: io::ErrorKind::WriteZero.into(), unsent: true });
                }
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(source)) => return Err(Failure::Broken { source, unsent: true }),
                Poll::Pending => return Ok(()),
            }
        }
        let Some(upload) = upload.filter(|_| !self.uploaded) else { return Ok(()) };
        match upload.poll_send(cx, &mut connection.stream) {
            // An instance may answer and close before it read everything: its answer decides.
            Poll::Ready(Ok(()) | Err(UploadError::Instance(_))) => self.uploaded = true,
            Poll::Ready(Err(error)) => return Err(Failure::Upload(error)),
            Poll::Pending => {}
        }
        self.waits_for_client = !self.uploaded;
        Ok(())
    }

    fn blame(&self, failure: Failure, connection: &Connection) -> Failure {
        match failure {
            Failure::Broken { source, .. } => {
                Failure::Broken { source, unsent: self.written < connection.head.len() }
            }
            other => other,
        }
    }
}

fn poll_head(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    method: &Method,
) -> Poll<Result<Head, Failure>> {
    loop {
        match response::parse(&mut connection.read, method) {
            Ok(Some(head)) if is_interim(head.status) => continue,
            Ok(Some(head)) => return Poll::Ready(Ok(head)),
            Ok(None) => {}
            Err(error) => return Poll::Ready(Err(Failure::Head(error))),
        }
        match connection.poll_fill(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(count)) if count > 0 => {}
            Poll::Ready(_) if !connection.read.is_empty() => return Poll::Ready(Err(Failure::CutShort)),
            Poll::Ready(outcome) => {
                let source = outcome.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                return Poll::Ready(Err(Failure::Broken { source, unsent: false }));
            }
        }
    }
}

/// Returns whether another head follows; the server side can't pass interim answers on.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}
