//! What a name may be. Each check says why not, continuing the sentence "name `x` …".

/// Names that would collide with hosts or words of the platform.
const RESERVED_APPS: &[&str] = &[
    "admin",
    "api",
    "app",
    "apps",
    "auth",
    "constructor",
    "dashboard",
    "default",
    "docs",
    "git",
    "health",
    "healthz",
    "kube-public",
    "kube-system",
    "localhost",
    "login",
    "metrics",
    "panda",
    "platform",
    "registry",
    "root",
    "static",
    "status",
    "system",
    "www",
];

/// Variables that the platform sets itself, or that would change how its own tools run.
const RESERVED_ENV: &[&str] =
    &["PORT", "HOST", "HOSTNAME", "PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"];

fn label(value: &str, max: usize) -> Result<(), &'static str> {
    let bytes = value.as_bytes();
    if bytes.is_empty() {
        return Err("is empty");
    }
    if bytes.len() > max {
        return Err("is too long");
    }
    if bytes.iter().any(u8::is_ascii_uppercase) {
        return Err("may not have capital letters");
    }
    if !bytes[0].is_ascii_lowercase() {
        return Err("has to start with a letter from a to z");
    }
    if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') {
        return Err("may only have letters a to z, digits and dashes");
    }
    if bytes.ends_with(b"-") || value.contains("--") {
        return Err("may not end with a dash or have two in a row");
    }
    Ok(())
}

pub(super) fn slug(value: &str) -> Result<(), &'static str> {
    label(value, 39)
}

pub(super) fn app(value: &str) -> Result<(), &'static str> {
    label(value, 39)?;
    if RESERVED_APPS.contains(&value) { Err("is reserved by the platform") } else { Ok(()) }
}

pub(super) fn process(value: &str) -> Result<(), &'static str> {
    label(value, 20)?;
    if value == "release" { Err("is reserved for the release command") } else { Ok(()) }
}

pub(super) fn environment(value: &str) -> Result<(), &'static str> {
    if value.len() > 39 {
        return Err("is too long");
    }
    let mut parts = value.split('/');
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    if third.is_some() {
        return Err("may have one slash at most");
    }
    first.into_iter().chain(second).try_for_each(|part| label(part, 39))
}

pub(super) fn env_key(value: &str) -> Result<(), &'static str> {
    let bytes = value.as_bytes();
    if bytes.is_empty() {
        return Err("is empty");
    }
    if bytes.len() > 128 {
        return Err("is longer than 128 characters");
    }
    if bytes[0].is_ascii_digit() {
        return Err("may not start with a digit");
    }
    if !bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        return Err("may only have letters, digits and underscores");
    }
    if value.starts_with("PANDA_") || RESERVED_ENV.contains(&value) {
        return Err("is set by the platform");
    }
    Ok(())
}

pub(super) fn hostname(value: &str) -> Result<(), &'static str> {
    if value.len() > 253 {
        return Err("is longer than 253 characters");
    }
    if value.starts_with("*.") {
        return Err("is a wildcard, and each host is added by itself");
    }
    if !value.contains('.') {
        return Err("has no dot");
    }
    if value.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err("is an IP address");
    }
    for label in value.split('.') {
        let ok = !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !ok {
            return Err("is no host name (lower-case letters, digits and dashes between dots)");
        }
    }
    Ok(())
}

pub(super) fn title(value: &str) -> Result<(), &'static str> {
    if value.trim().is_empty() {
        return Err("is empty");
    }
    if value.chars().count() > 60 {
        return Err("is longer than 60 characters");
    }
    if value.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    }) {
        return Err("has control characters");
    }
    Ok(())
}

pub(super) fn email(value: &str) -> Result<(), &'static str> {
    let Some((local, host)) = value.split_once('@') else { return Err("has no @") };
    if local.is_empty() || local.len() > 64 || value.len() > 254 {
        return Err("has an empty or too long part");
    }
    if !value
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase() && !b"\"'<>,;:\\()[]`".contains(&b))
    {
        return Err("has a character that isn't allowed");
    }
    if host == "localhost" { Ok(()) } else { hostname(host).map_err(|_| "has no valid host after the @") }
}
