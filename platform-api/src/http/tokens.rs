//! API tokens.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use panda_api_types::{Page, PageQuery, Token, TokenCreated, TokenRequest};
use panda_domain::ids::{TokenId, UserId};
use panda_domain::names::TokenName;
use panda_store::TokenRow;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Path, Query, Shared, cursor, page};
use crate::app::tokens::{self, WantedToken};
use crate::auth::{Principal, scope};
use crate::error::{Error, InField, Result};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// The team's tokens, or one's own for those who don't administer the team.
#[utoipa::path(get, path = "/tokens", tag = "account", params(PageQuery),
    responses((status = 200, body = Page<Token>)))]
async fn list(
    State(platform): State<Shared>,
    principal: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Token>>> {
    let cursor = cursor(query)?;
    let rows = tokens::list(&platform.store, &principal, &cursor).await?;
    let owners = tokens::owners(&platform.store, &rows).await?;
    Ok(Json(page(rows, &cursor, |row| row.id.to_string(), |row| shown(&row, &owners))))
}

/// Makes a token of one's own. Its secret is shown this once.
#[utoipa::path(post, path = "/tokens", tag = "account", request_body = TokenRequest,
    responses((status = 201, body = TokenCreated)))]
async fn create(
    State(platform): State<Shared>,
    principal: Principal,
    Json(body): Json<TokenRequest>,
) -> Result<(StatusCode, Json<TokenCreated>)> {
    let name = body.name.parse::<TokenName>().in_field("name")?;
    let wanted = WantedToken::new(name, scope::parse(&body.scope)?, body.ttl_days)?;
    let made = tokens::create(&platform.store, &principal, wanted).await?;
    Ok((StatusCode::CREATED, Json(shown_once(&platform, &made).await?)))
}

/// Ends a token.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "account", params(("id" = String, Path,)),
    responses((status = 204)))]
async fn revoke(
    State(platform): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let id: TokenId = id.parse().map_err(|_| Error::not_found("token"))?;
    tokens::revoke(&platform.store, &principal, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn shown_once(platform: &Shared, made: &tokens::MadeToken) -> Result<TokenCreated> {
    let owners = tokens::owners(&platform.store, std::slice::from_ref(&made.row)).await?;
    Ok(TokenCreated { secret: made.secret.reveal().to_owned(), token: shown(&made.row, &owners) })
}

fn shown(row: &TokenRow, owners: &BTreeMap<UserId, String>) -> Token {
    Token {
        id: row.id.to_string(),
        name: row.name.to_string(),
        scope: scope::word(&row.scope),
        owner: owners.get(&row.user).cloned().unwrap_or_else(|| row.user.to_string()),
        created_at: row.created_at.to_string(),
        expires_at: row.expires_at.to_string(),
        last_used_at: row.last_used_at.map(|at| at.to_string()),
    }
}
