//! The body of an answer on its way to the client, read from the instance as the client takes it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::chunked::{ChunkedError, Step};
use super::connection::Connection;
use super::pool::Pool;
use super::request::Upload;
use super::response::{Framing, Head};
use crate::account::Account;

/// Says why a body broke off; the client's connection is cut, so that it can't take it for whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the instance closed the connection within the answer")]
    CutShort,
    #[error("read the answer")]
    Read(#[source] io::Error),
    #[error("read the answer")]
    Chunked(#[source] ChunkedError),
    #[error("nothing moved for {} ms", .0.as_millis())]
    Idle(Duration),
    #[error("pass the request's body on")]
    Upload,
}

/// What the edge answers with.
#[expect(clippy::large_enum_variant, reason = "most answers are an instance's; boxing it costs each of them")]
pub(crate) enum AnswerBody {
    /// A page of our own.
    Own { text: Option<Bytes>, _account: Option<Account> },
    /// What the instance sends.
    Instance(InstanceBody),
}

impl AnswerBody {
    pub(crate) fn own(text: impl Into<Bytes>, account: Option<Account>) -> Self {
        let text = text.into();
        if let Some(account) = &account {
            account.add_bytes_out(text.len());
        }
        Self::Own { text: (!text.is_empty()).then_some(text), _account: account }
    }
}

/// The body of an instance's answer, with the connection that it comes from.
pub(crate) struct InstanceBody {
    connection: Option<Box<Connection>>,
    framing: Framing,
    keep_alive: bool,
    upload: Option<Upload>,
    pool: Rc<Pool>,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    moved_at: Option<Instant>,
    account: Account,
}

impl InstanceBody {
    /// Takes over what is left of an exchange.
    pub(crate) fn new(
        connection: Box<Connection>,
        head: &mut Head,
        upload: Option<Upload>,
        pool: Rc<Pool>,
        idle: Duration,
        account: Account,
    ) -> Self {
        let framing = std::mem::replace(&mut head.framing, Framing::Length(0));
        let mut body = Self {
            connection: Some(connection),
            framing,
            keep_alive: head.keep_alive,
            upload,
            pool,
            idle,
            timer: None,
            moved_at: None,
            account,
        };
        if matches!(body.framing, Framing::Length(0)) && body.upload.is_none() {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        self.framing = Framing::Length(0);
        self.timer = None;
        if let Some(connection) = self.connection.take() {
            self.account.release_instance();
            if self.keep_alive && self.upload.is_none() {
                self.pool.put(connection);
            }
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let (Some(upload), Some(connection)) = (self.upload.as_mut(), self.connection.as_mut()) else {
            return Ok(());
        };
        let before = upload.bytes;
        let outcome = upload.poll_send(cx, &mut connection.stream);
        if upload.bytes > before {
            self.account.add_bytes_in(upload.bytes - before);
            self.moved_at = Some(Instant::now());
        }
        match outcome {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.upload = None;
                Ok(())
            }
            // The instance doesn't want the rest; its answer still counts.
            Poll::Ready(Err(super::request::UploadError::Instance(_))) => {
                self.upload = None;
                self.keep_alive = false;
                Ok(())
            }
            Poll::Ready(Err(_)) => Err(BodyError::Upload),
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(connection) = self.connection.as_mut() else { return Poll::Ready(None) };
            match &mut self.framing {
                Framing::Length(0) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Framing::Length(left) if !connection.read.is_empty() => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(connection.read.len());
                    *left -= take as u64;
                    let (data, ended) = (connection.read.split_to(take).freeze(), *left == 0);
                    if ended && self.upload.is_none() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Framing::UntilClose if !connection.read.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(connection.read.split().freeze()))));
                }
                Framing::Chunked(decoder) => match decoder.step(&mut connection.read) {
                    Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(Step::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                    Ok(Step::Done) => {
                        self.finish();
                        return Poll::Ready(None);
                    }
                    Ok(Step::NeedMore) => {}
                    Err(error) => return Poll::Ready(Some(Err(BodyError::Chunked(error)))),
                },
                Framing::Length(_) | Framing::UntilClose => {}
            }
            match ready!(connection.poll_fill(cx)) {
                Ok(0) if matches!(self.framing, Framing::UntilClose) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Ok(0) => return Poll::Ready(Some(Err(BodyError::CutShort))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(BodyError::Read(error)))),
            }
        }
    }

    /// Fires when nothing moved for the idle time. The timer is only made for bodies that have to wait,
    /// and isn't moved at each frame: it looks at the last movement when it fires.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let idle = self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        loop {
            ready!(timer.as_mut().poll(cx));
            let Some(moved_at) = self.moved_at.take() else { return Poll::Ready(BodyError::Idle(idle)) };
            timer.as_mut().reset(moved_at + idle);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = match self.get_mut() {
            Self::Own { text, .. } => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Instance(body) => body,
        };
        if let Err(error) = body.poll_upload(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        match body.poll_data(cx) {
            Poll::Ready(outcome) => {
                if let Some(Ok(frame)) = &outcome {
                    body.account.add_bytes_out(frame.data_ref().map_or(0, Bytes::len));
                    if body.timer.is_some() {
                        body.moved_at = Some(Instant::now());
                    }
                }
                if let Some(Err(_)) = &outcome {
                    body.account.broke_off();
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => body.poll_idle(cx).map(|error| {
                body.account.broke_off();
                Some(Err(error))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { text, .. } => text.is_none(),
            Self::Instance(body) => body.connection.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { text, .. } => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Instance(body) => match body.framing {
                Framing::Length(left) => SizeHint::with_exact(left),
                Framing::Chunked(_) | Framing::UntilClose => SizeHint::default(),
            },
        }
    }
}
