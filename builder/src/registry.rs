//! The registry that takes the images: where it is, and whether it answers.

use std::collections::HashMap;
use std::time::Duration;

use panda_domain::failure::FailureCode;
use panda_registry_token::{LIFETIME, RegistryKey};
use reqwest::StatusCode;

use crate::buildkit::{Logins, OwnRegistry, RegistryCredentials};
use crate::failure::BuildFailure;
use crate::images::MANIFESTS;

/// How long the registry may take to say that it is there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A registry to push to.
#[derive(Debug, Clone)]
pub struct Registry {
    /// `host` or `host:port`, as buildkitd reaches it.
    pub host: String,
    /// Whether it speaks plain HTTP.
    pub insecure: bool,
    /// How it knows us.
    pub login: RegistryLogin,
    /// Base URL under which this process reaches it, such as `http://127.0.0.1:7050`; `None` skips the
    /// check before a build.
    pub check_url: Option<String>,
}

/// How a registry knows us.
#[derive(Debug, Clone)]
pub enum RegistryLogin {
    /// It takes from everybody.
    Open,
    /// It is the platform's own: each build gets tokens for its own repositories alone.
    Own(RegistryKey),
    /// It is somebody's: a user and a password.
    Password(RegistryCredentials),
}

impl Registry {
    /// Returns what the daemon is told when a registry asks who we are. In this one it gets into `repositories` alone.
    pub(crate) fn logins(
        &self,
        mut passwords: HashMap<String, RegistryCredentials>,
        repositories: Vec<String>,
    ) -> Result<Logins, BuildFailure> {
        let own = match &self.login {
            RegistryLogin::Open => None,
            RegistryLogin::Password(login) => {
                passwords.insert(self.host.clone(), login.clone());
                None
            }
            RegistryLogin::Own(key) => {
                let own = OwnRegistry::new(self.host.clone(), key.clone(), repositories);
                let fix = "report this; the machine gives no random numbers";
                let cause = "no login for the registry can be made";
                Some(own.map_err(|_| BuildFailure::transient(FailureCode::P110, cause, fix))?)
            }
        };
        Ok(Logins { passwords, own })
    }
}

/// Asks registries whether they are there.
#[derive(Debug, Clone)]
pub(crate) struct RegistryProbe(reqwest::Client);

impl RegistryProbe {
    pub(crate) fn new() -> Self {
        let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().build();
        Self(client.expect("a client without special settings can be built"))
    }

    /// Checks that the registry answers, and that our own knows our key. What another says about credentials is the push's
    /// affair.
    pub(crate) async fn check(&self, registry: &Registry) -> Result<(), BuildFailure> {
        let Some(base) = &registry.check_url else { return Ok(()) };
        let url = format!("{}/v2/", base.trim_end_matches('/'));
        let unreachable = |why: String| {
            BuildFailure::transient(
                FailureCode::P111,
                format!("the registry `{}` can't be reached: {why}", registry.host),
                "deploy again; if it stays, ask the operator to run `panda-server doctor`",
            )
        };
        let mut request = self.0.head(url);
        if let RegistryLogin::Own(key) = &registry.login {
            request = request.bearer_auth(key.greeting_token().reveal());
        }
        let answer = request.send().await.map_err(|error| unreachable(root_cause(&error)))?;
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED && matches!(registry.login, RegistryLogin::Own(_)) {
            let cause = format!("the registry `{}` doesn't know this server's key", registry.host);
            let fix = "ask the operator to run `panda-server install`, which brings both together";
            return Err(BuildFailure::transient(FailureCode::P111, cause, fix));
        }
        if status.is_server_error() { Err(unreachable(format!("it answers {status}"))) } else { Ok(()) }
    }
}

impl RegistryProbe {
    /// Tells whether an image is there; true when nobody says where to ask.
    pub(crate) async fn has(
        &self,
        registry: &Registry,
        repository: &str,
        digest: &str,
    ) -> Result<bool, BuildFailure> {
        let Some(base) = &registry.check_url else { return Ok(true) };
        let url = format!("{}/v2/{repository}/manifests/{digest}", base.trim_end_matches('/'));
        let mut request = self.0.head(url).header("accept", MANIFESTS);
        if let RegistryLogin::Own(key) = &registry.login {
            request = request.bearer_auth(key.pull_token(repository, LIFETIME).reveal());
        }
        let answer = request.send().await.map_err(|error| {
            let cause = format!("the registry `{}` can't be reached: {}", registry.host, root_cause(&error));
            BuildFailure::transient(FailureCode::P111, cause, "deploy again")
        })?;
        Ok(answer.status() != StatusCode::NOT_FOUND)
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
