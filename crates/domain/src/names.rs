//! Names that people choose. Parsed once at the edge, valid for ever after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

/// A name that can't be used: what it names, the value, why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{noun} `{value}` {problem}")]
pub struct InvalidName {
    /// What the text should have named, such as `app name`.
    pub noun: &'static str,
    /// The text, cut to 60 characters, control characters shown as escapes.
    pub value: String,
    /// Why it was refused, continuing the sentence.
    pub problem: &'static str,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident $noun:literal $check:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(value: &str) -> Result<Self, InvalidName> {
                match $check(value) {
                    Ok(()) => Ok(Self(value.to_owned())),
                    Err(problem) => Err(InvalidName { noun: $noun, value: shown(value), problem }),
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(value: String) -> Result<Self, InvalidName> { value.parse() }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String { name.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{:?}", self.0) }
        }
    )*};
}

names! {
    /// The name of an app: a DNS label that starts with a letter, at most 39 characters.
    AppName "app name" check_app;
    /// The name of a project, by the same rules as an app's but without reserved words.
    ProjectName "project name" check_slug;
    /// `production`, `staging`, `preview/pr-12`: labels joined by at most one slash, at most 39 characters.
    EnvironmentName "environment name" check_environment;
    /// The name of a process of an app, such as `web` or `worker`.
    ProcessName "process name" check_process;
    /// The name of an environment variable.
    EnvKey "variable name" check_env_key;
    /// A host name that people can own: lower case, at least one dot, no IP address, no wildcard.
    Hostname "host name" check_hostname;
    /// The name of a team, shown to people.
    TeamName "team name" check_title;
    /// The name of an API token, shown to people.
    TokenName "token name" check_title;
    /// An e-mail address, in lower case.
    Email "e-mail address" check_email;
}

impl AppName {
    /// Makes an app name out of a directory's, or `None` if nothing usable is left.
    pub fn from_directory(name: &str) -> Option<Self> {
        let mut slug = String::new();
        for c in name.chars().map(|c| c.to_ascii_lowercase()) {
            match c {
                'a'..='z' | '0'..='9' => slug.push(c),
                _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
                _ => {}
            }
        }
        let slug = slug.trim_start_matches(|c: char| !c.is_ascii_lowercase());
        let slug: String = slug.chars().take(39).collect();
        let slug = slug.trim_end_matches('-');
        slug.parse().or_else(|_| format!("{slug}-app").parse()).ok()
    }
}

impl EnvironmentName {
    /// Returns `production`, which every project has.
    pub fn production() -> Self {
        Self("production".to_owned())
    }
}

impl ProcessName {
    /// Returns `web`, the process that takes requests.
    pub fn web() -> Self {
        Self("web".to_owned())
    }

    /// Tells whether requests from outside may go to this process.
    pub fn is_web(&self) -> bool {
        self.0 == "web"
    }
}

impl ProjectName {
    /// Returns `default`, the project of apps that name none.
    pub fn default_project() -> Self {
        Self("default".to_owned())
    }
}

fn shown(value: &str) -> String {
    value.chars().take(60).flat_map(char::escape_debug).collect()
}

fn check_label(value: &str, max: usize) -> Result<(), &'static str> {
    let bytes = value.as_bytes();
    if bytes.is_empty() {
        return Err("is empty");
    }
    if bytes.len() > max {
        return Err("is too long");
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

fn check_slug(value: &str) -> Result<(), &'static str> {
    check_label(value, 39)
}

fn check_app(value: &str) -> Result<(), &'static str> {
    check_label(value, 39)?;
    if RESERVED_APPS.contains(&value) { Err("is reserved by the platform") } else { Ok(()) }
}

fn check_process(value: &str) -> Result<(), &'static str> {
    check_label(value, 20)?;
    if value == "release" { Err("is reserved for the release command") } else { Ok(()) }
}

fn check_environment(value: &str) -> Result<(), &'static str> {
    if value.len() > 39 {
        return Err("is too long");
    }
    let mut parts = value.split('/');
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    if third.is_some() {
        return Err("may have one slash at most");
    }
    first.into_iter().chain(second).try_for_each(|part| check_label(part, 39))
}

fn check_env_key(value: &str) -> Result<(), &'static str> {
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

fn check_hostname(value: &str) -> Result<(), &'static str> {
    if value.len() > 253 {
        return Err("is longer than 253 characters");
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

fn check_title(value: &str) -> Result<(), &'static str> {
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

fn check_email(value: &str) -> Result<(), &'static str> {
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
    if host == "localhost" {
        Ok(())
    } else {
        check_hostname(host).map_err(|_| "has no valid host after the @")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names_that_could_reach_a_shell_a_path_or_another_host_are_refused() {
        for bad in [
            "",
            "a;id",
            "../x",
            "A",
            "xn--e1",
            "kube-system",
            "constructor",
            "1a",
            "-a",
            "a-",
            "a b",
            "а",
            "a\n",
            "$(id)",
        ] {
            assert!(bad.parse::<AppName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(40).parse::<AppName>().is_err());
        assert!("a".repeat(39).parse::<AppName>().is_ok());
    }

    #[test]
    fn variable_names_are_refused_when_odd_or_the_platforms_own() {
        for bad in ["", "A=B", "A\nB", "LD_PRELOAD", "PATH", "PORT", "PANDA_APP", "1A", "A\0", "a-b"] {
            assert!(bad.parse::<EnvKey>().is_err(), "{bad:?}");
        }
        assert!("DATABASE_URL".parse::<EnvKey>().is_ok());
    }

    #[test]
    fn a_directory_gives_a_usable_app_name() {
        let name = |d| AppName::from_directory(d).map(String::from);
        assert_eq!(name("My App_2").as_deref(), Some("my-app-2"));
        assert_eq!(name("api").as_deref(), Some("api-app"));
        assert_eq!(name("42"), None);
    }

    #[test]
    fn hosts_that_nobody_can_own_are_refused() {
        for bad in ["localhost", "1.2.3.4", "*.example.com", "Example.com", "a..b", "-a.b", "a.b:80", "a b.c"]
        {
            assert!(bad.parse::<Hostname>().is_err(), "{bad:?}");
        }
        assert!("api.example.com".parse::<Hostname>().is_ok());
    }
}
