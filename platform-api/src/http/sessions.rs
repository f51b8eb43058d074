//! Signing in and out, and what is signed in.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use panda_api_types::{ErrorCode, LoginRequest, Page, PasswordChange, Session, Whoami};
use panda_domain::ids::SessionId;
use panda_store::SessionRow;
use secrecy::SecretString;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::UserAgent;
use super::paging::whole;
use super::{Json, Path, Shared, cookie};
use crate::app::sessions::{self, Credentials, SignedIn};
use crate::auth::password::NewPassword;
use crate::auth::{Peer, Principal, Via, scope};
use crate::error::{Error, Result};
use crate::platform::Platform;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(logout))
        .routes(routes!(whoami))
        .routes(routes!(change_password))
        .routes(routes!(list))
        .routes(routes!(revoke))
}

/// Signs in by password.
#[utoipa::path(post, path = "/login", tag = "account", security(()), request_body = LoginRequest,
    responses((status = 200, body = Whoami), (status = 401, description = "The address or the password is wrong"),
              (status = 429, description = "Too many tries")))]
async fn login(
    State(platform): State<Shared>,
    peer: Peer,
    UserAgent(user_agent): UserAgent,
    headers: HeaderMap,
    Json(body): Json<LoginRequest>,
) -> Result<impl IntoResponse> {
    let signed_in = sign_in(&platform, &peer, &headers, body, user_agent).await?;
    Ok(([cookie::keep(&signed_in)], whoami_of(&platform, &signed_in).await?))
}

/// Signs in; forms and JSON alike.
pub async fn sign_in(
    platform: &Platform,
    peer: &Peer,
    headers: &HeaderMap,
    body: LoginRequest,
    user_agent: String,
) -> Result<SignedIn> {
    let Ok(email) = body.email.trim().to_lowercase().parse() else {
        return Err(Error::new(ErrorCode::Unauthenticated, "the address or the password is wrong"));
    };
    let credentials = Credentials { email, password: SecretString::from(body.password), user_agent };
    let previous = match cookie::secret_of(headers) {
        Some(secret) => Principal::by_session(&mut platform.store.read().await?, &secret).await?,
        None => None,
    };
    sessions::login(&platform.store, &platform.passwords, peer, credentials, previous.as_ref()).await
}

/// Ends the login that the request came by.
#[utoipa::path(post, path = "/logout", tag = "account", responses((status = 204)))]
async fn logout(State(platform): State<Shared>, principal: Principal) -> Result<impl IntoResponse> {
    sessions::logout(&platform.store, &principal).await?;
    Ok((StatusCode::NO_CONTENT, [cookie::drop()]))
}

/// Who is asking.
#[utoipa::path(get, path = "/whoami", tag = "account", responses((status = 200, body = Whoami)))]
async fn whoami(principal: Principal) -> Json<Whoami> {
    Json(shown(&principal))
}

/// Changes one's own password; ends all other sessions and renews this one.
#[utoipa::path(post, path = "/password", tag = "account", request_body = PasswordChange,
    responses((status = 200, body = Whoami)))]
async fn change_password(
    State(platform): State<Shared>,
    principal: Principal,
    peer: Peer,
    UserAgent(user_agent): UserAgent,
    Json(body): Json<PasswordChange>,
) -> Result<impl IntoResponse> {
    let new = NewPassword::parse("new", body.new, &principal.email)?;
    let current = SecretString::from(body.current);
    let (store, passwords) = (&platform.store, &platform.passwords);
    let signed_in =
        sessions::change_password(store, passwords, &peer, &principal, current, new, &user_agent).await?;
    Ok(([cookie::keep(&signed_in)], whoami_of(&platform, &signed_in).await?))
}

/// The asker's signed-in browsers.
#[utoipa::path(get, path = "/sessions", tag = "account", responses((status = 200, body = Page<Session>)))]
async fn list(State(platform): State<Shared>, principal: Principal) -> Result<Json<Page<Session>>> {
    let rows = sessions::list(&platform.store, &principal).await?;
    Ok(Json(whole(rows, |row| shown_session(&principal, row))))
}

/// Ends one of the asker's sessions.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "account", params(("id" = String, Path,)),
    responses((status = 204)))]
async fn revoke(
    State(platform): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let id: SessionId = id.parse().map_err(|_| Error::not_found("session"))?;
    sessions::revoke(&platform.store, &principal, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns who a fresh session belongs to.
pub(super) async fn whoami_of(platform: &Platform, signed_in: &SignedIn) -> Result<Json<Whoami>> {
    let principal = Principal::by_session(&mut platform.store.read().await?, signed_in.secret.reveal())
        .await?
        .ok_or_else(|| Error::internal("a session that was just opened is gone"))?;
    Ok(Json(shown(&principal)))
}

fn shown(principal: &Principal) -> Whoami {
    Whoami {
        user: principal.user.to_string(),
        email: principal.email.to_string(),
        team: principal.team.to_string(),
        team_name: principal.team_name.to_string(),
        role: principal.role.word().to_owned(),
        via: match principal.via {
            Via::Session(_) => "session",
            Via::Token { .. } | Via::Device => "token",
        }
        .to_owned(),
        scope: scope::word(&principal.scope),
    }
}

fn shown_session(principal: &Principal, row: SessionRow) -> Session {
    Session {
        current: matches!(&principal.via, Via::Session(id) if *id == row.id),
        id: row.id.to_string(),
        created_at: row.created_at.to_string(),
        last_seen_at: row.last_seen_at.to_string(),
        expires_at: row.expires_at.to_string(),
        user_agent: row.user_agent,
    }
}
