//! Names that people choose. Parsed once at the edge, valid for ever after.

mod check;
mod suggest;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
    /// What such a name may be, as an order.
    pub rule: &'static str,
    /// A name close to it that would do.
    pub suggestion: Option<String>,
}

impl InvalidName {
    /// Returns what to do: the rule, and a name that would do.
    pub fn fix(&self) -> String {
        match &self.suggestion {
            Some(name) => format!("{}; `{name}` would do", self.rule),
            None => self.rule.to_owned(),
        }
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident $noun:literal $check:ident $suggest:ident $rule:literal;)*) => {$(
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
                let Err(problem) = check::$check(value) else { return Ok(Self(value.to_owned())) };
                let suggestion = suggest::$suggest(value).filter(|name| check::$check(name).is_ok());
                Err(InvalidName { noun: $noun, value: shown(value), problem, rule: $rule, suggestion })
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
    AppName "app name" app app
        "use up to 39 letters a to z, digits and single dashes, a letter first";
    /// The name of a project, by the same rules as an app's but without reserved words.
    ProjectName "project name" slug label
        "use up to 39 letters a to z, digits and single dashes, a letter first";
    /// `production`, `staging`, `preview/pr-12`: labels joined by at most one slash, at most 39 characters.
    EnvironmentName "environment name" environment environment
        "use letters a to z, digits and single dashes, a letter first, as in `staging` or `preview/pr-12`";
    /// The name of a process of an app, such as `web` or `worker`.
    ProcessName "process name" process process
        "use up to 20 letters a to z, digits and single dashes, a letter first";
    /// The name of an environment variable.
    EnvKey "variable name" env_key env_key
        "use letters, digits and underscores, no digit first, and no name that Panda sets itself";
    /// A host name that people can own: lower case, at least one dot, no IP address, no wildcard.
    Hostname "host name" hostname hostname
        "name one host that you own, without scheme, port or path, as in `www.example.com`";
    /// The name of a team, shown to people.
    TeamName "team name" title title "use 1 to 60 characters on one line";
    /// The name of an API token, shown to people.
    TokenName "token name" title title "use 1 to 60 characters on one line";
    /// An e-mail address, in lower case.
    Email "e-mail address" email email "write it in lower case, as in `ada@example.com`";
}

impl AppName {
    /// Makes an app name out of a directory's, or `None` if nothing usable is left.
    pub fn from_directory(name: &str) -> Option<Self> {
        suggest::app(name).map(Self)
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
    fn a_refused_name_comes_with_one_that_would_do() {
        fn would_do<T: FromStr<Err = InvalidName>>(bad: &str) -> Option<String> {
            let Err(error) = bad.parse::<T>() else { panic!("{bad:?} is fine") };
            assert!(error.fix().starts_with(error.rule));
            if let Some(good) = &error.suggestion {
                assert!(good.parse::<T>().is_ok(), "{good:?} wouldn't do");
            }
            error.suggestion
        }
        assert_eq!(would_do::<AppName>("My_App!").as_deref(), Some("my-app"));
        assert_eq!(would_do::<AppName>("api").as_deref(), Some("api-app"));
        assert_eq!(would_do::<AppName>("xn--shop--2").as_deref(), Some("xn-shop-2"));
        assert_eq!(would_do::<AppName>(&"a".repeat(64)), Some("a".repeat(39)));
        for hopeless in ["", "42", "--", "日本"] {
            assert_eq!(would_do::<AppName>(hopeless), None, "{hopeless:?}");
        }
        assert_eq!(would_do::<ProcessName>("Web 1").as_deref(), Some("web-1"));
        assert_eq!(would_do::<EnvironmentName>("Preview/PR 12/x").as_deref(), Some("preview/pr-12-x"));
        assert_eq!(would_do::<EnvKey>("log-level").as_deref(), Some("log_level"));
        assert_eq!(would_do::<EnvKey>("2FA").as_deref(), Some("_2FA"));
        assert_eq!(would_do::<EnvKey>("PORT").as_deref(), Some("APP_PORT"));
        assert_eq!(would_do::<EnvKey>("PANDA_APP").as_deref(), Some("APP_APP"));
        assert_eq!(would_do::<EnvKey>("LD_PRELOAD"), None);
        assert_eq!(
            would_do::<Hostname>("https://WWW.Example.com:8080/x?y").as_deref(),
            Some("www.example.com")
        );
        for hopeless in ["*.example.com", "1.2.3.4", "localhost"] {
            assert_eq!(would_do::<Hostname>(hopeless), None, "{hopeless:?}");
        }
        assert_eq!(would_do::<Email>("Ada@Example.com").as_deref(), Some("ada@example.com"));
        assert_eq!(would_do::<TokenName>("a\nb").as_deref(), Some("ab"));
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
