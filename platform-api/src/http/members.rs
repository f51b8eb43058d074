//! Members of the team.

use axum::extract::State;
use panda_api_types::{Member, Page};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging::whole;
use super::{Json, Shared};
use crate::app::members;
use crate::auth::Principal;
use crate::error::Result;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Who is in the team.
#[utoipa::path(get, path = "/members", tag = "account", responses((status = 200, body = Page<Member>)))]
async fn list(State(platform): State<Shared>, principal: Principal) -> Result<Json<Page<Member>>> {
    let rows = members::list(&platform.store, &principal).await?;
    Ok(Json(whole(rows, |member| Member {
        user: member.user.to_string(),
        email: member.email.to_string(),
        role: member.role.word().to_owned(),
    })))
}
