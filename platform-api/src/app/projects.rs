//! Projects: groups of apps.

use panda_domain::team::Permission;
use panda_store::{Project, Store};

use crate::auth::Principal;
use crate::error::Result;

/// Returns the team's projects.
pub async fn list(store: &Store, principal: &Principal) -> Result<Vec<Project>> {
    principal.require(Permission::Read, None)?;
    Ok(store.read().await?.projects(&principal.team).await?)
}
