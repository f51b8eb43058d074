//! A new version's look before it takes over: it runs beside the old one, reads what that one serves from, and changes
//! nothing. Exit 0 means that the state can be taken over.

use panda_docker::platform::PlatformHost;

use super::{Failure, Outcome, opening, say};
use crate::config::{Config, check};
use crate::platform_containers::Installation;

/// What a version says that sends tokens to the registry; one that doesn't say it gets a registry without a login.
pub(super) const KNOWS_TOKENS: &str = "knows: registry tokens";

/// Looks at configuration, key, schema and engine.
pub(super) async fn run(config: &Config) -> Outcome {
    if let Some(finding) = check(config).into_iter().find(|finding| finding.fatal) {
        return Err(Failure::new(format!("{}: {}", finding.setting, finding.problem), finding.fix));
    }
    let store = opening::look(config).await.map_err(|error| {
        Failure::of(
            error,
            "this version can't use the state that is there; see docs/operating.md, \"Upgrade\"",
        )
    })?;
    store.close().await;
    let name = Installation::default().name;
    PlatformHost::connect(&config.runtime.docker_socket, &name)
        .await
        .map_err(|error| Failure::of(error, "this version can't reach the Docker engine"))?;
    say(KNOWS_TOKENS);
    say("ok: configuration, key, schema and engine suit this version");
    Ok(())
}
