//! Reads the head of an instance's answer and decides where its body ends.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::chunked::Decoder;
use crate::headers;

const HEAD_LIMIT_BYTES: usize = 64 << 10;
const HEADERS_LIMIT: usize = 128;

/// Where the body ends.
#[derive(Debug)]
pub(crate) enum Framing {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// Whether the connection may carry another exchange.
    pub(crate) keep_alive: bool,
}

/// Says what is wrong with an answer's head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("the head of the answer is malformed")]
    Malformed,
    #[error("the head of the answer is larger than {HEAD_LIMIT_BYTES} bytes")]
    TooLarge,
    #[error("the answer's length is ambiguous")]
    Ambiguous,
}

/// Parses a head off the buffer's front; `None` means it isn't whole yet.
pub(crate) fn parse(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, HeadError> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut spans = [(0_u32, 0_u32, 0_u32, 0_u32); HEADERS_LIMIT];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_LIMIT_BYTES => length,
        Ok(httparse::Status::Partial) if buffer.len() < HEAD_LIMIT_BYTES => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(_) => return Err(HeadError::Malformed),
    };
    let base = buffer.as_ptr() as usize;
    let count = parsed.headers.len();
    for (span, field) in spans.iter_mut().zip(parsed.headers.iter()) {
        let at = |slice: &[u8]| u32::try_from(slice.as_ptr() as usize - base).unwrap_or(0);
        let long = |slice: &[u8]| u32::try_from(slice.len()).unwrap_or(0);
        let (name, value) = (field.name.as_bytes(), field.value);
        // An empty value may point anywhere.
        let start = if value.is_empty() { 0 } else { at(value) };
        *span = (at(name), long(name), start, long(value));
    }
    let is_11 = parsed.version == Some(1);
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(HeadError::Malformed)?;
    let head = buffer.split_to(length).freeze();
    let mut reading = Reading::new(is_11, count);
    for &(name, name_length, value, value_length) in &spans[..count] {
        let name = &head[name as usize..(name + name_length) as usize];
        let name = HeaderName::from_bytes(name).map_err(|_| HeadError::Malformed)?;
        let value = head.slice(value as usize..(value + value_length) as usize);
        reading.field(name, value)?;
    }
    reading.finish(status, method).map(Some)
}

struct Reading {
    headers: HeaderMap,
    is_11: bool,
    keep_alive: bool,
    length: Option<u64>,
    chunked: Option<bool>,
    named: Vec<HeaderName>,
}

impl Reading {
    fn new(is_11: bool, count: usize) -> Self {
        Self {
            // Room for what hyper and we add, so that the map doesn't grow.
            headers: HeaderMap::with_capacity(count + 2),
            is_11,
            keep_alive: is_11,
            length: None,
            chunked: None,
            named: Vec::new(),
        }
    }

    fn field(&mut self, name: HeaderName, value: Bytes) -> Result<(), HeadError> {
        if name == header::CONNECTION {
            self.connection(&value);
            return Ok(());
        }
        if name == header::TRANSFER_ENCODING {
            // Only `chunked` alone is passed on: nobody asked for another coding.
            self.chunked = Some(self.chunked.is_none() && value.eq_ignore_ascii_case(b"chunked"));
            return Ok(());
        }
        if headers::is_hop_by_hop(&name) && name != header::UPGRADE {
            return Ok(());
        }
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| HeadError::Malformed)?;
        if name == header::CONTENT_LENGTH {
            let length = headers::parse_content_length(value.as_bytes()).ok_or(HeadError::Ambiguous)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(HeadError::Ambiguous);
            }
            if self.length.replace(length).is_some() {
                return Ok(());
            }
        }
        self.headers.append(name, value);
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for token in headers::tokens(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.keep_alive = false;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive |= !self.is_11;
            } else if let Ok(name) = HeaderName::from_bytes(token) {
                self.named.push(name);
            }
        }
    }

    fn finish(mut self, status: StatusCode, method: &Method) -> Result<Head, HeadError> {
        for name in &self.named {
            if *name != header::UPGRADE && !headers::is_essential(name) {
                self.headers.remove(name);
            }
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            self.headers.remove(header::UPGRADE);
        }
        let bodyless = *method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let framing = match (self.chunked, self.length) {
            (Some(_), Some(_)) | (Some(false), _) => return Err(HeadError::Ambiguous),
            (Some(true), _) if !self.is_11 => return Err(HeadError::Ambiguous),
            _ if bodyless => Framing::Length(0),
            (Some(true), None) => Framing::Chunked(Decoder::Size),
            (None, Some(length)) => Framing::Length(length),
            (None, None) => {
                self.keep_alive = false;
                Framing::UntilClose
            }
        };
        Ok(Head { status, headers: self.headers, framing, keep_alive: self.keep_alive })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, HeadError> {
        parse(&mut BytesMut::from(text.as_bytes()), &Method::GET)
    }

    #[test]
    fn head_without_an_end_waits_for_more() {
        assert!(read("HTTP/1.1 200 OK\r\ncontent-le").unwrap().is_none());
    }

    #[test]
    fn hop_by_hop_headers_and_those_that_connection_names_are_dropped() {
        let head = read(
            "HTTP/1.1 200 OK\r\nConnection: x-inner, close\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Authenticate: a\r\nX-Outer: 2\r\nX-Empty:\r\nContent-Length: 3\r\n\r\n",
        )
        .unwrap()
        .unwrap();
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "x-empty", "x-outer"]);
        assert!(!head.keep_alive);
        assert!(matches!(head.framing, Framing::Length(3)));
    }

    #[test]
    fn ambiguous_lengths_are_refused() {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Content-Length: 3\r\nContent-Length: 4",
            "Content-Length: +3",
            "Content-Length: 3, 3",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ] {
            let outcome = read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"));
            assert!(matches!(outcome, Err(HeadError::Ambiguous)), "{fields}");
        }
        assert!(read("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn answers_without_a_body_end_at_their_head() {
        for status in ["204 No Content", "304 Not Modified"] {
            let head = read(&format!("HTTP/1.1 {status}\r\n\r\n")).unwrap().unwrap();
            assert!(matches!(head.framing, Framing::Length(0)) && head.keep_alive);
        }
        let old = read("HTTP/1.0 200 OK\r\n\r\n").unwrap().unwrap();
        assert!(matches!(old.framing, Framing::UntilClose) && !old.keep_alive);
    }
}
