//! Reads a body in chunks (RFC 9112, section 7.1) as it arrives.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A size line longer than this is an attack or a bug: real ones have no extensions.
const SIZE_LINE_LIMIT_BYTES: usize = 1024;
const TRAILERS_LIMIT_BYTES: usize = 16 << 10;
const TRAILERS_LIMIT: usize = 64;

/// Where in the body we are.
#[derive(Debug)]
pub(crate) enum Decoder {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What a step of the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Done,
    NeedMore,
}

/// Says what is wrong with the body.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ChunkedError {
    #[error("a chunk's size is malformed")]
    Size,
    #[error("a chunk doesn't end where its size says")]
    End,
    #[error("the trailers are malformed or too large")]
    Trailers,
}

impl Decoder {
    pub(crate) fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, ChunkedError> {
        loop {
            match self {
                Self::Size => match httparse::parse_chunk_size(buffer) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        buffer.advance(line);
                        *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                    }
                    Ok(httparse::Status::Partial) if buffer.len() < SIZE_LINE_LIMIT_BYTES => {
                        return Ok(Step::NeedMore);
                    }
                    _ => return Err(ChunkedError::Size),
                },
                Self::Data(_) if buffer.is_empty() => return Ok(Step::NeedMore),
                Self::Data(left) => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    *left -= take as u64;
                    let data = buffer.split_to(take).freeze();
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(Step::Data(data));
                }
                Self::DataEnd => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        *self = Self::Size;
                    }
                    None if buffer.is_empty() || buffer[0] == b'\r' => return Ok(Step::NeedMore),
                    _ => return Err(ChunkedError::End),
                },
                Self::Trailers => match read_trailers(buffer)? {
                    None => return Ok(Step::NeedMore),
                    Some(trailers) => {
                        *self = Self::Done;
                        if !trailers.is_empty() {
                            return Ok(Step::Trailers(trailers));
                        }
                    }
                },
                Self::Done => return Ok(Step::Done),
            }
        }
    }
}

fn read_trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, ChunkedError> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS_LIMIT];
    match httparse::parse_headers(buffer, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) => {
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let name =
                    HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| ChunkedError::Trailers)?;
                let value = HeaderValue::from_bytes(field.value).map_err(|_| ChunkedError::Trailers)?;
                // Framing and routing are settled by the head; a trailer that says otherwise is dropped.
                if !crate::headers::is_forbidden_in_trailers(&name) {
                    trailers.append(name, value);
                }
            }
            buffer.advance(length);
            Ok(Some(trailers))
        }
        Ok(httparse::Status::Partial) if buffer.len() < TRAILERS_LIMIT_BYTES => Ok(None),
        _ => Err(ChunkedError::Trailers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(parts: &[&[u8]]) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), ChunkedError> {
        let (mut decoder, mut buffer) = (Decoder::Size, BytesMut::new());
        let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
        let mut parts = parts.iter();
        loop {
            match decoder.step(&mut buffer)? {
                Step::Data(data) => body.extend_from_slice(&data),
                Step::Trailers(found) => trailers = found,
                Step::Done => return Ok((body, trailers, buffer.to_vec())),
                Step::NeedMore => match parts.next() {
                    Some(part) => buffer.extend_from_slice(part),
                    None => panic!("the body never ends"),
                },
            }
        }
    }

    #[test]
    fn body_reads_the_same_however_it_is_cut() {
        let text = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-sum: 7\r\n\r\nrest";
        let whole = decode(&[text]).unwrap();
        assert_eq!(whole.0, b"hello world");
        assert_eq!(whole.1["x-sum"], "7");
        assert_eq!(whole.2, b"rest");
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        let cut = decode(&bytes).unwrap();
        assert_eq!((cut.0, cut.1), (whole.0, whole.1));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        assert_eq!(decode(&[b"zz\r\n"]), Err(ChunkedError::Size));
        assert_eq!(decode(&[b"-1\r\n"]), Err(ChunkedError::Size));
        assert_eq!(decode(&[b"2\r\nabc\r\n"]), Err(ChunkedError::End));
        assert_eq!(decode(&[b"11111111111111111\r\n"]), Err(ChunkedError::Size));
        assert_eq!(decode(&[b"0\r\nbad header\r\n\r\n"]), Err(ChunkedError::Trailers));
    }

    #[test]
    fn trailers_cannot_change_framing() {
        let (_, trailers, _) =
            decode(&[b"0\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\nx-ok: 1\r\n\r\n"]).unwrap();
        assert_eq!(trailers.len(), 1);
    }
}
