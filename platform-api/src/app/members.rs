//! Who is in the team.

use panda_domain::team::Permission;
use panda_store::{Member, Store};

use crate::auth::Principal;
use crate::error::Result;

/// Returns the team's members.
pub async fn list(store: &Store, principal: &Principal) -> Result<Vec<Member>> {
    principal.require(Permission::Read, None)?;
    Ok(store.read().await?.members(&principal.team).await?)
}
