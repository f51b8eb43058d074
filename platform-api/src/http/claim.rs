//! `POST /claim`: the first run.

use axum::extract::State;
use axum::response::IntoResponse;
use panda_api_types::{ClaimRequest, Whoami};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use panda_domain::names::{Email, TeamName};

use super::extract::UserAgent;
use super::{Json, Shared, cookie, sessions};
use crate::app::claim::{self, Claim};
use crate::auth::Peer;
use crate::auth::password::NewPassword;
use crate::error::{InField, Result};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Takes the ownership of a new server, by the token on its console. Works once.
#[utoipa::path(post, path = "/claim", tag = "server", security(()), request_body = ClaimRequest,
    responses((status = 200, body = Whoami, description = "Signed in as the owner"),
              (status = 403, description = "The token is wrong"), (status = 410, description = "Claimed already")))]
async fn create(
    State(platform): State<Shared>,
    peer: Peer,
    UserAgent(user_agent): UserAgent,
    Json(body): Json<ClaimRequest>,
) -> Result<impl IntoResponse> {
    let claim = parse(body, user_agent)?;
    let signed_in = claim::claim(&platform.store, &platform.passwords, &peer, claim).await?;
    Ok(([cookie::keep(&signed_in)], sessions::whoami_of(&platform, &signed_in).await?))
}

/// Parses what a new owner says; forms and JSON alike.
pub fn parse(body: ClaimRequest, user_agent: String) -> Result<Claim> {
    let email = body.email.trim().to_lowercase().parse::<Email>().in_field("email")?;
    let password = NewPassword::parse("password", body.password, &email)?;
    let team = body.team.filter(|team| !team.trim().is_empty()).unwrap_or_else(|| "default".to_owned());
    let team = team.parse::<TeamName>().in_field("team")?;
    Ok(Claim { token: body.claim_token.trim().to_owned(), email, password, team, user_agent })
}
