//! The registry that takes the images: where it is, and whether it answers.

use std::time::Duration;

use panda_domain::failure::FailureCode;

use crate::buildkit::RegistryCredentials;
use crate::failure::BuildFailure;

/// How long the registry may take to say that it is there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A registry to push to.
#[derive(Debug, Clone)]
pub struct Registry {
    /// `host` or `host:port`, as buildkitd reaches it.
    pub host: String,
    /// Whether it speaks plain HTTP.
    pub insecure: bool,
    /// Who we are to it; `None` pushes anonymously.
    pub credentials: Option<RegistryCredentials>,
    /// Base URL under which this process reaches it, such as `http://127.0.0.1:7050`; `None` skips the
    /// check before a build.
    pub check_url: Option<String>,
}

/// Asks registries whether they are there.
#[derive(Debug, Clone)]
pub(crate) struct RegistryProbe(reqwest::Client);

impl RegistryProbe {
    pub(crate) fn new() -> Self {
        let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().build();
        Self(client.expect("a client without special settings can be built"))
    }

    /// Checks that the registry answers; what it says about credentials is the push's affair.
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
        let answer = self.0.head(url).send().await.map_err(|error| unreachable(root_cause(&error)))?;
        let status = answer.status();
        if status.is_server_error() { Err(unreachable(format!("it answers {status}"))) } else { Ok(()) }
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
