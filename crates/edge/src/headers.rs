//! Which headers end at a hop, and how their values are read.

use http::header::{self, HeaderMap, HeaderName};

/// Returns whether a header speaks of one connection only and is never forwarded.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Returns whether a `Connection` header must not take this one away: what routes or frames the message.
pub(crate) fn is_essential(name: &HeaderName) -> bool {
    *name == header::HOST
        || *name == header::CONTENT_LENGTH
        || *name == header::AUTHORIZATION
        || *name == header::COOKIE
        || *name == header::SET_COOKIE
        || name.as_str().starts_with("x-forwarded-")
        || name.as_str() == "x-real-ip"
}

/// Returns whether a header tells where the client is, which only the edge may say.
pub(crate) fn is_forwarding(name: &HeaderName) -> bool {
    *name == header::FORWARDED
        || matches!(
            name.as_str(),
            "x-forwarded-for"
                | "x-forwarded-proto"
                | "x-forwarded-host"
                | "x-forwarded-port"
                | "x-forwarded-server"
                | "x-forwarded-scheme"
                | "x-forwarded-ssl"
                | "x-forwarded-prefix"
                | "x-original-url"
                | "x-rewrite-url"
                | "x-real-ip"
        )
}

/// Returns whether a header must not come in trailers.
pub(crate) fn is_forbidden_in_trailers(name: &HeaderName) -> bool {
    is_hop_by_hop(name)
        || *name == header::CONTENT_LENGTH
        || *name == header::HOST
        || *name == header::TRAILER
        || *name == header::SET_COOKIE
        || *name == header::AUTHORIZATION
        || *name == header::CONTENT_TYPE
        || *name == header::CONTENT_ENCODING
}

/// Splits a list such as `close, x-inner` into its tokens.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Returns whether a list header has a token.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .any(|value| tokens(value.as_bytes()).any(|found| found.eq_ignore_ascii_case(token.as_bytes())))
}

/// Reads a `Content-Length`: digits alone.
pub(crate) fn parse_content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0_u64, |length, digit| {
        digit.is_ascii_digit().then(|| length * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_takes_digits_alone() {
        assert_eq!(parse_content_length(b"0"), Some(0));
        assert_eq!(parse_content_length(b"20480"), Some(20_480));
        for bad in ["", "+1", "-1", "1 ", "0x10", "1,1", "99999999999999999999"] {
            assert_eq!(parse_content_length(bad.as_bytes()), None, "{bad}");
        }
    }
}
