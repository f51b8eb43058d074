//! Refuses requests that two parties could read in two ways, before anything of them is forwarded.

use std::borrow::Cow;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Version};

use crate::headers;

/// Why a request is refused: status and a sentence. The connection is closed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
}

fn bad(reason: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, reason }
}

/// What a request asks for, once it is unambiguous.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// Host and port as the client sent them.
    pub(crate) authority: Cow<'a, str>,
    /// Host in lower case, without port and final dot.
    pub(crate) host: Cow<'a, str>,
    pub(crate) is_websocket: bool,
}

/// Checks a request's head. `received` are the bytes it was parsed from, as far as they are known.
pub(crate) fn check(
    parts: &Parts,
    is_websocket_connect: bool,
    received: impl FnOnce(&dyn Fn(&[u8]) -> bool) -> bool,
) -> Result<Subject<'_>, Refusal> {
    let is_h2 = parts.version == Version::HTTP_2;
    if parts.method == Method::CONNECT && !is_websocket_connect {
        return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, reason: "CONNECT isn't served" });
    }
    let authority = authority(parts, is_h2)?;
    let host = host_of(authority).ok_or(bad("the Host header is malformed"))?;
    if let Some(coding) = parts.headers.get(header::TRANSFER_ENCODING) {
        let one = parts.headers.get_all(header::TRANSFER_ENCODING).iter().count() == 1;
        if !one || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(bad("the only Transfer-Encoding is chunked"));
        }
        // The parser resolves a contradiction in favour of chunked and drops the length. Other parsers
        // on the way decide otherwise, which is how requests are smuggled.
        if parts.headers.contains_key(header::CONTENT_LENGTH) || received(&|bytes| has_both(bytes, parts)) {
            return Err(bad("Content-Length and Transfer-Encoding exclude each other"));
        }
    }
    let is_websocket = is_websocket_connect || upgrade(parts)?;
    Ok(Subject { authority: Cow::Borrowed(authority), host, is_websocket })
}

fn authority(parts: &Parts, is_h2: bool) -> Result<&str, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let header =
        hosts.next().map(HeaderValue::to_str).transpose().map_err(|_| bad("the Host header is malformed"))?;
    if hosts.next().is_some() {
        return Err(bad("there is more than one Host header"));
    }
    let target = parts.uri.authority().map(http::uri::Authority::as_str);
    match (target, header) {
        (Some(target), Some(header)) if !target.eq_ignore_ascii_case(header) => {
            Err(bad("the request's target and its Host header differ"))
        }
        // RFC 9112, 3.2: HTTP/1.1 has a Host header even with an absolute target.
        (Some(_), None) if !is_h2 => Err(bad("a Host header is needed")),
        (Some(target), _) => Ok(target),
        (None, Some(header)) => Ok(header),
        (None, None) => Err(bad("a Host header is needed")),
    }
}

/// Returns the host of an authority in lower case, without port and final dot.
fn host_of(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_fits = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_v6 = host.starts_with('[');
    let fits = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_')
            || (is_v6 && matches!(byte, b'[' | b']' | b':'))
    };
    if host.is_empty() || host.len() > 253 || !port_fits || !host.bytes().all(fits) {
        return None;
    }
    Some(if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// Returns whether a WebSocket is asked for. Other protocols could carry anything past the routes.
fn upgrade(parts: &Parts) -> Result<bool, Refusal> {
    if !parts.headers.contains_key(header::UPGRADE) {
        return Ok(false);
    }
    if headers::has_token(&parts.headers, &header::UPGRADE, "h2c")
        || parts.headers.contains_key("http2-settings")
    {
        return Err(bad("HTTP/2 without TLS isn't served"));
    }
    let asked = headers::has_token(&parts.headers, &header::CONNECTION, "upgrade");
    let mut values = parts.headers.get_all(header::UPGRADE).iter();
    let only_websocket =
        values.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
            && values.next().is_none();
    if !asked || parts.version != Version::HTTP_11 {
        return Ok(false);
    }
    if !only_websocket || parts.method != Method::GET {
        return Err(bad("the only upgrade is a GET for a WebSocket"));
    }
    if parts.headers.contains_key(header::CONTENT_LENGTH)
        || parts.headers.contains_key(header::TRANSFER_ENCODING)
    {
        return Err(bad("an upgrade has no body"));
    }
    Ok(true)
}

/// Returns whether this request's head, as received, has both a length and an encoding.
fn has_both(received: &[u8], parts: &Parts) -> bool {
    let line = format!("{} {} HTTP/1.", parts.method, parts.uri);
    let Some(start) = find(received, line.as_bytes()) else { return false };
    let head = &received[start..];
    let end = find(head, b"\r\n\r\n").or_else(|| find(head, b"\n\n")).unwrap_or(head.len());
    head[..end]
        .split(|byte| *byte == b'\n')
        .any(|line| line.len() > 15 && line[..15].eq_ignore_ascii_case(b"content-length:"))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_loses_case_port_and_final_dot() {
        for (authority, host) in [
            ("Example.COM:8080", "example.com"),
            ("a.test.", "a.test"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:443", "[::1]"),
        ] {
            assert_eq!(host_of(authority).as_deref(), Some(host));
        }
        for bad in ["", ":80", "a b", "user@host", "a:b", "a:123456", "[::1]x", "a/b", "a\u{e9}"] {
            assert_eq!(host_of(bad), None, "{bad}");
        }
    }
}
