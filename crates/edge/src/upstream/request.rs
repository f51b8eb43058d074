//! Writes a request to an instance: its head, and its body as it arrives from the client.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{self, HeaderMap};
use http::request::Parts;
use http_body::{Body, SizeHint};
use hyper::body::Incoming;
use tokio::io::AsyncWrite;

use super::connection::Stream;
use crate::headers;

/// What the edge says about the client, whatever the client said itself.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    /// Host as the client sent it.
    pub(crate) host: &'a str,
    /// The client's address, after what a trusted proxy reported.
    pub(crate) forwarded_for: &'a str,
    pub(crate) scheme: &'static str,
    /// Set if the client sent none.
    pub(crate) request_id: Option<&'a str>,
    /// Keeps what a trusted proxy in front of us says about the client.
    pub(crate) trusted: bool,
    /// Asks for a WebSocket.
    pub(crate) websocket: Option<&'a str>,
}

/// How long the request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    None,
    Known(u64),
    Chunked,
}

impl Length {
    pub(crate) fn of(body: &Incoming) -> Self {
        if body.is_end_stream() {
            return Self::None;
        }
        SizeHint::exact(&body.size_hint()).map_or(Self::Chunked, Self::Known)
    }
}

/// Writes the head into `out`.
pub(crate) fn encode(out: &mut Vec<u8>, parts: &Parts, origin: &Origin<'_>, length: Length) {
    out.clear();
    let is_connect = parts.method == http::Method::CONNECT;
    // A WebSocket over HTTP/2 is a CONNECT; instances speak HTTP/1.1, where it is a GET.
    out.extend_from_slice(if is_connect { b"GET" } else { parts.method.as_str().as_bytes() });
    out.push(b' ');
    out.extend_from_slice(parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    field(out, "host", origin.host.as_bytes());
    copy_headers(out, parts, origin);
    field(out, "x-forwarded-for", origin.forwarded_for.as_bytes());
    if !(origin.trusted && parts.headers.contains_key("x-forwarded-proto")) {
        field(out, "x-forwarded-proto", origin.scheme.as_bytes());
    }
    if !(origin.trusted && parts.headers.contains_key("x-forwarded-host")) {
        field(out, "x-forwarded-host", origin.host.as_bytes());
    }
    if let Some(id) = origin.request_id {
        field(out, "x-request-id", id.as_bytes());
    }
    if let Some(key) = origin.websocket {
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        if !key.is_empty() {
            field(out, "sec-websocket-key", key.as_bytes());
        }
    }
    match length {
        Length::None if parts.headers.contains_key(header::CONTENT_LENGTH) => {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        Length::None => {}
        Length::Known(length) => field(out, "content-length", length.to_string().as_bytes()),
        Length::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

fn copy_headers(out: &mut Vec<u8>, parts: &Parts, origin: &Origin<'_>) {
    let named = names_more_than_manners(&parts.headers);
    for (name, value) in &parts.headers {
        if *name == header::HOST
            || *name == header::CONTENT_LENGTH
            || *name == header::EXPECT
            || *name == header::COOKIE
            || headers::is_hop_by_hop(name)
            || (headers::is_forwarding(name) && (!origin.trusted || name == "x-forwarded-for"))
            || (named
                && !headers::is_essential(name)
                && headers::has_token(&parts.headers, &header::CONNECTION, name.as_str()))
        {
            continue;
        }
        field(out, name.as_str(), value.as_bytes());
    }
    if headers::has_token(&parts.headers, &header::TE, "trailers") {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    // HTTP/2 may split cookies into several headers; HTTP/1.1 has them in one.
    let mut cookies = parts.headers.get_all(header::COOKIE).iter();
    if let Some(first) = cookies.next() {
        out.extend_from_slice(b"cookie: ");
        out.extend_from_slice(first.as_bytes());
        for cookie in cookies {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(cookie.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Returns whether `Connection` names a header, beyond how to treat the connection itself.
fn names_more_than_manners(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        headers::tokens(value.as_bytes()).any(|token| {
            !(token.eq_ignore_ascii_case(b"keep-alive")
                || token.eq_ignore_ascii_case(b"close")
                || token.eq_ignore_ascii_case(b"upgrade"))
        })
    })
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Says why a request's body could not be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("read the request's body")]
    Client(#[source] hyper::Error),
    #[error("the request's body is larger than allowed")]
    TooLarge,
    #[error("write the request's body")]
    Instance(#[source] io::Error),
}

/// A request's body on its way to the instance.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Incoming,
    chunked: bool,
    allowed: u64,
    pending: [Bytes; 3],
    ended: bool,
    /// Whether a part of the body was taken, so that the request can't be sent again.
    pub(crate) started: bool,
    /// Bytes of the body so far.
    pub(crate) bytes: u64,
}

impl Upload {
    pub(crate) fn new(body: Incoming, length: Length, allowed: u64) -> Self {
        Self {
            body,
            chunked: length == Length::Chunked,
            allowed,
            pending: [Bytes::new(), Bytes::new(), Bytes::new()],
            ended: false,
            started: false,
            bytes: 0,
        }
    }

    /// Returns whether everything is sent.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.pending.iter().all(Bytes::is_empty)
    }

    /// Moves what can be moved; ready once all of it is sent.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            ready!(self.poll_write_pending(cx, stream)).map_err(UploadError::Instance)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    self.ended = true;
                    if self.chunked {
                        self.pending[0] = Bytes::from_static(b"0\r\n\r\n");
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(UploadError::Client(error))),
                Some(Ok(frame)) => self.take(frame)?,
            }
        }
    }

    fn take(&mut self, frame: http_body::Frame<Bytes>) -> Result<(), UploadError> {
        self.started = true;
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                self.bytes += data.len() as u64;
                if self.bytes > self.allowed {
                    return Err(UploadError::TooLarge);
                }
                if self.chunked {
                    let size = format!("{:x}\r\n", data.len());
                    self.pending = [Bytes::from(size), data, Bytes::from_static(b"\r\n")];
                } else {
                    self.pending[0] = data;
                }
            }
            Err(frame) => {
                if let (true, Ok(trailers)) = (self.chunked, frame.into_trailers()) {
                    let mut end = b"0\r\n".to_vec();
                    for (name, value) in &trailers {
                        if !headers::is_forbidden_in_trailers(name) {
                            field(&mut end, name.as_str(), value.as_bytes());
                        }
                    }
                    end.extend_from_slice(b"\r\n");
                    self.pending[0] = Bytes::from(end);
                    self.ended = true;
                }
            }
        }
        Ok(())
    }

    fn poll_write_pending(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        loop {
            let mut slices = [IoSlice::new(&[]); 3];
            let mut count = 0;
            for part in self.pending.iter().filter(|part| !part.is_empty()) {
                slices[count] = IoSlice::new(part);
                count += 1;
            }
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            for part in &mut self.pending {
                let taken = written.min(part.len());
                part.advance(taken);
                written -= taken;
            }
        }
    }
}
