//! References to container images.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no image reference or digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image `{value}` {problem}")]
pub struct InvalidImage {
    /// The text, cut and escaped.
    pub value: String,
    /// Why it was refused.
    pub problem: &'static str,
}

/// `sha256:` and 64 hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Returns the text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = InvalidImage;
    fn from_str(value: &str) -> Result<Self, InvalidImage> {
        let hex = value.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Self(value.to_owned()))
        } else {
            Err(invalid(value, "has no digest of the form sha256:<64 hex digits>"))
        }
    }
}

/// An image as a person names it: `node:22-slim`, `ghcr.io/acme/api@sha256:…`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    host: Option<String>,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageReference {
    /// Returns the registry's host, `None` when the reference names none.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Tells whether the registry's host is of this machine or its private networks: an address that isn't public, a name
    /// without a dot, or one that only exists locally.
    pub fn names_private_host(&self) -> bool {
        let Some(host) = &self.host else { return false };
        let name = host.split(':').next().unwrap_or_default();
        match name.parse::<std::net::Ipv4Addr>() {
            Ok(ip) => !crate::address::is_public(ip.into()),
            // A name of digits and dots that is no address may be read as one by somebody else.
            Err(_) if name.bytes().all(|b| b.is_ascii_digit() || b == b'.') => true,
            Err(_) => {
                !name.contains('.')
                    || [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end))
            }
        }
    }

    /// Returns host and path without tag and digest.
    pub fn repository(&self) -> String {
        match &self.host {
            Some(host) => format!("{host}/{}", self.path),
            None => self.path.clone(),
        }
    }

    /// Returns the path, without the registry's host.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag, if one is named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if one is named.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the same image pinned to `digest`, its tag dropped.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { host: self.host.clone(), path: self.path.clone(), tag: None, digest: Some(digest) }
    }
}

impl FromStr for ImageReference {
    type Err = InvalidImage;

    fn from_str(value: &str) -> Result<Self, InvalidImage> {
        if value.is_empty() || value.len() > 500 {
            return Err(invalid(value, "is empty or longer than 500 characters"));
        }
        let (name, digest) = match value.split_once('@') {
            Some((name, digest)) => {
                (name, Some(digest.parse::<Digest>().map_err(|e| invalid(value, e.problem))?))
            }
            None => (value, None),
        };
        let (host, rest) = match name.split_once('/') {
            Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => (Some(first), rest),
            _ => (None, name),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if host.is_some_and(|h| !is_host(h)) {
            return Err(invalid(value, "has an odd registry host"));
        }
        if path.is_empty() || !path.split('/').all(is_component) {
            return Err(invalid(
                value,
                "may only have lower-case letters, digits and . _ - in each part of its path",
            ));
        }
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(invalid(value, "has an odd tag"));
        }
        Ok(Self { host: host.map(str::to_owned), path: path.to_owned(), tag: tag.map(str::to_owned), digest })
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(n, p)| (n, Some(p)));
    !name.is_empty()
        && !name.starts_with(['-', '.'])
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p != 0))
}

fn is_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().is_some_and(|b| alnum(*b))
        && bytes.last().is_some_and(|b| alnum(*b))
        && bytes.iter().all(|b| alnum(*b) || matches!(b, b'.' | b'_' | b'-'))
        && !part.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn invalid(value: &str, problem: &'static str) -> InvalidImage {
    InvalidImage { value: value.chars().take(100).flat_map(char::escape_debug).collect(), problem }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

macro_rules! text_form {
    ($($name:ident)*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidImage;
            fn try_from(value: String) -> Result<Self, InvalidImage> { value.parse() }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String { value.to_string() }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
    )*};
}
text_form!(Digest ImageReference);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_that_read_as_flags_or_commands_are_refused() {
        for bad in [
            "-v/:/h alpine",
            "evil.com/x@sha256:bad",
            "a b",
            "$(id)",
            "Alpine",
            "a/../b",
            "",
            "x:",
            "h:0/x",
            "a//b",
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hosts_of_the_machine_and_its_networks_are_told_from_public_ones() {
        let private = |text: &str| text.parse::<ImageReference>().unwrap().names_private_host();
        for host in [
            "169.254.169.254/x",
            "localhost:2375/x",
            "10.0.0.1:5000/x",
            "127.0.0.1/x",
            "0.0.0.0:1/x",
            "a.internal/x",
            "127.1:80/x",
        ] {
            assert!(private(host), "{host}");
        }
        for image in ["node:22-slim", "ghcr.io/acme/api", "8.8.8.8:5000/x"] {
            assert!(!private(image), "{image}");
        }
    }

    #[test]
    fn a_reference_keeps_its_parts() {
        let image: ImageReference = "127.0.0.1:7050/acme/api:v1".parse().unwrap();
        assert_eq!(
            (image.host(), image.path(), image.tag()),
            (Some("127.0.0.1:7050"), "acme/api", Some("v1"))
        );
        let short: ImageReference = "node:22-slim".parse().unwrap();
        assert_eq!(
            (short.host(), short.repository(), short.to_string()),
            (None, "node".into(), "node:22-slim".into())
        );
    }
}
