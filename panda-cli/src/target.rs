//! Which server, app and environment a verb means.

use std::path::{Path, PathBuf};

use panda_api_types::ErrorCode;
use panda_domain::manifest;
use panda_domain::names::{AppName, EnvironmentName};
use url::Url;

use crate::args::Shared;
use crate::error::{CliError, Result};
use crate::settings::{Link, Login, Logins};

/// Where a server on this machine listens.
pub(crate) const LOCAL_SERVER: &str = "http://127.0.0.1:7080";

/// A server and how to be known to it. Has no `Debug`, because of the token.
#[derive(Clone)]
pub(crate) struct Server {
    /// Its address.
    pub(crate) url: Url,
    /// The API token.
    pub(crate) token: Option<String>,
    /// The authority to trust instead of the system's, PEM.
    pub(crate) ca: Option<String>,
}

/// The directory that a verb runs in, and what it is linked to.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The directory.
    pub(crate) directory: PathBuf,
    /// The nearest link, and whose it is.
    pub(crate) link: Option<(PathBuf, Link)>,
}

impl Place {
    /// Looks at a directory.
    pub(crate) fn of(directory: &Path) -> Result<Self> {
        let given = directory;
        let directory = given.canonicalize().map_err(|error| {
            CliError::file("open", given, &error)
                .hint("check the path; `panda deploy` alone takes this directory")
        })?;
        if !directory.is_dir() {
            let detail = format!("`{}` is a file, not a directory", given.display());
            return Err(CliError::new(ErrorCode::InvalidRequest, detail)
                .hint("name the directory that it is in, or an image with --image"));
        }
        let link = Link::find(&directory)?;
        Ok(Self { directory, link })
    }

    /// Looks at the present directory.
    pub(crate) fn here() -> Result<Self> {
        Self::of(Path::new("."))
    }

    /// Returns the server: flag, PANDA_SERVER, link, last login.
    ///
    /// A link may have come with somebody else's files, so its server gets no token, secret or source
    /// before this user has signed in to it.
    pub(crate) fn server(&self, shared: &Shared) -> Result<Server> {
        let logins = Logins::load()?;
        let named = shared.server.clone().or_else(|| said("PANDA_SERVER"));
        let linked = self.link.as_ref().and_then(|(_, link)| link.server.clone());
        let address = named.clone().or(linked).or_else(|| logins.current.clone()).ok_or_else(|| {
            CliError::new(ErrorCode::Unauthenticated, "no server is known yet")
                .hint("run `panda login --server URL`, or `panda login` for one on this machine")
        })?;
        let url = parse_server(&address)?;
        let login = logins.servers.get(address_of(&url).as_str()).cloned();
        if named.is_none() && login.is_none() {
            let detail = format!("this directory is linked to `{url}`, and you aren't signed in there");
            return Err(CliError::new(ErrorCode::Unauthenticated, detail)
                .hint(format!("if you know that server, run `panda login --server {url}`")));
        }
        Self::with_login(url, login)
    }

    fn with_login(url: Url, login: Option<Login>) -> Result<Server> {
        let (token, ca) = login.map_or((None, None), |login| (Some(login.token), login.ca));
        let ca = match said("PANDA_CA_FILE") {
            Some(path) => {
                let path = PathBuf::from(path);
                Some(std::fs::read_to_string(&path).map_err(|error| CliError::file("read", &path, &error))?)
            }
            None => ca,
        };
        Ok(Server { url, token: said("PANDA_TOKEN").or(token), ca })
    }

    /// Returns the app's name: flag, link, panda.toml.
    pub(crate) fn app(&self, shared: &Shared) -> Result<AppName> {
        if let Some(name) = self.app_if_said(shared)? {
            return Ok(name);
        }
        let detail = format!("no app is linked to `{}`", self.directory.display());
        Err(CliError::new(ErrorCode::NotFound, detail)
            .hint("name it with -a APP, or run `panda link APP` here once; `panda apps list` shows all"))
    }

    /// Returns the app's name if flag, link or panda.toml name one.
    pub(crate) fn app_if_said(&self, shared: &Shared) -> Result<Option<AppName>> {
        let named = shared.app.clone().or_else(|| self.link.as_ref().map(|(_, link)| link.app.clone()));
        match named {
            Some(name) => app_name(&name).map(Some),
            None => Ok(self.manifest()?.and_then(|(_, manifest)| manifest.app)),
        }
    }

    /// Returns the environment: flag, link, production.
    pub(crate) fn environment(&self, shared: &Shared) -> Result<EnvironmentName> {
        let linked = self.link.as_ref().and_then(|(_, link)| link.environment.clone());
        match shared.environment.clone().or(linked) {
            Some(name) => Ok(name.parse()?),
            None => Ok(EnvironmentName::production()),
        }
    }

    /// Reads the directory's panda.toml; every mistake is told at once.
    pub(crate) fn manifest(&self) -> Result<Option<(String, manifest::Manifest)>> {
        let path = self.directory.join(manifest::FILE_NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::file("read", &path, &error)),
        };
        match manifest::parse(&text) {
            Ok(manifest) => Ok(Some((text, manifest))),
            Err(errors) => Err(manifest_error(&errors)),
        }
    }
}

fn manifest_error(errors: &manifest::ManifestErrors) -> CliError {
    let code = if errors.only_unsupported() { ErrorCode::Unsupported } else { ErrorCode::InvalidManifest };
    let count = errors.0.len();
    let detail = format!(
        "panda.toml has {}",
        if count == 1 { "a mistake".into() } else { format!("{count} mistakes") }
    );
    let fields = errors.0.iter().map(|mistake| panda_api_types::FieldError {
        field: if mistake.field.is_empty() { "panda.toml".to_owned() } else { mistake.field.clone() },
        message: format!(
            "{} (line {}, column {}); {}",
            mistake.cause, mistake.line, mistake.column, mistake.fix
        ),
    });
    CliError::new(code, detail)
        .fields(fields.collect())
        .hint("`panda init` in an empty directory writes a file with every key explained")
}

/// Parses an app's name.
pub(crate) fn app_name(name: &str) -> Result<AppName> {
    Ok(name.parse()?)
}

/// Parses a server's address; without a scheme, https is meant.
pub(crate) fn parse_server(address: &str) -> Result<Url> {
    let with_scheme = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let wrong = |why: &str| {
        CliError::new(ErrorCode::InvalidRequest, format!("`{address}` is no server address: {why}"))
            .hint("such as https://panda.example.com")
    };
    let url = Url::parse(&with_scheme).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("it needs https and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong("it may only have a host, a port and a path"));
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(wrong("tokens don't travel over plain http, except on this machine"));
    }
    Ok(url)
}

/// Returns another server that this user is signed in to. PANDA_TOKEN isn't for it: that one belongs to the first.
pub(crate) fn other_server(address: &str) -> Result<Server> {
    let url = parse_server(address)?;
    let login = Logins::load()?.servers.get(address_of(&url).as_str()).cloned().ok_or_else(|| {
        CliError::new(ErrorCode::Unauthenticated, format!("you aren't signed in to `{url}`"))
            .hint(format!("run `panda login --server {url}`, then this again with --server for the old one"))
    })?;
    Ok(Server { url, token: Some(login.token), ca: login.ca })
}

/// Returns an address as logins are kept under.
pub(crate) fn address_of(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Tells whether a host is this machine; `*.localhost` is, whatever the system's resolver says.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(host)) => host == "localhost" || host.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Returns a variable of this process, if it says something.
pub(crate) fn said(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_travel_over_https_or_stay_on_this_machine() {
        for good in
            ["https://panda.example.com", "panda.example.com", "http://127.0.0.1:7080", "http://a.localhost"]
        {
            assert!(parse_server(good).is_ok(), "{good}");
        }
        for bad in
            ["http://panda.example.com", "ftp://x", "https://u:p@x.y", "https://x.y/?a=1", "https://", ""]
        {
            assert!(parse_server(bad).is_err(), "{bad}");
        }
    }
}
