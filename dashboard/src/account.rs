//! Claiming the server, signing in and out, and the page one lands on.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use panda_api_types::{ClaimRequest, LoginRequest};
use panda_platform_api::app::{claim, sessions};
use panda_platform_api::auth::Peer;
use panda_platform_api::http::extract::UserAgent;
use panda_platform_api::http::{self, Shared, cookie};
use panda_platform_api::{Error, Result};
use serde::Deserialize;

use crate::page::{PageError, go, html, notice, viewer};

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(home))
        .route("/claim", get(claim_page).post(claim_form))
        .route("/login", get(login_page).post(login_form))
        .route("/logout", post(logout_form))
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    email: String,
    team: String,
    role: &'static str,
    url: String,
}

async fn home(State(platform): State<Shared>, headers: HeaderMap) -> Result<Response, PageError> {
    if !platform.is_claimed().await? {
        return Ok(go("/claim"));
    }
    let Some(principal) = viewer(&platform, &headers).await? else { return Ok(go("/login")) };
    let page = Home {
        email: principal.email.to_string(),
        team: principal.team_name.to_string(),
        role: principal.role.word(),
        url: platform.settings.page(""),
    };
    Ok(html(StatusCode::OK, &page))
}

#[derive(Template, Default)]
#[template(path = "claim.html")]
struct ClaimPage {
    token: String,
    email: String,
    team: String,
    problem: Option<String>,
}

#[derive(Deserialize)]
struct ClaimQuery {
    #[serde(default)]
    token: String,
}

async fn claim_page(
    State(platform): State<Shared>,
    Query(query): Query<ClaimQuery>,
) -> Result<Response, PageError> {
    if platform.is_claimed().await? {
        return Ok(go("/login"));
    }
    Ok(html(StatusCode::OK, &ClaimPage { token: query.token, ..ClaimPage::default() }))
}

#[derive(Deserialize)]
struct ClaimForm {
    claim_token: String,
    email: String,
    password: String,
    #[serde(default)]
    team: String,
}

async fn claim_form(
    State(platform): State<Shared>,
    peer: Peer,
    UserAgent(user_agent): UserAgent,
    Form(form): Form<ClaimForm>,
) -> Result<Response, PageError> {
    let page = ClaimPage {
        token: form.claim_token.clone(),
        email: form.email.clone(),
        team: form.team.clone(),
        problem: None,
    };
    match try_claim(&platform, &peer, form, user_agent).await {
        Ok(signed_in) => Ok(([cookie::keep(&signed_in)], go("/")).into_response()),
        Err(error) => {
            let (status, text) = notice(error)?;
            Ok(html(status, &ClaimPage { problem: Some(text), ..page }))
        }
    }
}

async fn try_claim(
    platform: &Shared,
    peer: &Peer,
    form: ClaimForm,
    user_agent: String,
) -> Result<sessions::SignedIn> {
    let body = ClaimRequest {
        claim_token: form.claim_token,
        email: form.email,
        password: form.password,
        team: Some(form.team),
    };
    let claim = http::claim::parse(body, user_agent)?;
    claim::claim(&platform.store, &platform.passwords, peer, claim).await
}

#[derive(Template, Default)]
#[template(path = "login.html")]
struct LoginPage {
    email: String,
    /// The device code that waits behind the login.
    code: String,
    problem: Option<String>,
}

#[derive(Deserialize)]
struct LoginQuery {
    #[serde(default)]
    code: String,
}

async fn login_page(
    State(platform): State<Shared>,
    Query(query): Query<LoginQuery>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    if !platform.is_claimed().await? {
        return Ok(go("/claim"));
    }
    if viewer(&platform, &headers).await?.is_some() {
        return Ok(go(&after_login(&query.code)));
    }
    Ok(html(StatusCode::OK, &LoginPage { code: query.code, ..LoginPage::default() }))
}

#[derive(Deserialize)]
struct LoginForm {
    email: String,
    password: String,
    #[serde(default)]
    code: String,
}

async fn login_form(
    State(platform): State<Shared>,
    peer: Peer,
    UserAgent(user_agent): UserAgent,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Result<Response, PageError> {
    let page = LoginPage { email: form.email.clone(), code: form.code.clone(), problem: None };
    let body = LoginRequest { email: form.email, password: form.password };
    match http::sessions::sign_in(&platform, &peer, &headers, body, user_agent).await {
        Ok(signed_in) => Ok(([cookie::keep(&signed_in)], go(&after_login(&form.code))).into_response()),
        Err(error) => {
            let (status, text) = notice(error)?;
            Ok(html(status, &LoginPage { problem: Some(text), ..page }))
        }
    }
}

async fn logout_form(State(platform): State<Shared>, headers: HeaderMap) -> Result<Response, PageError> {
    match viewer(&platform, &headers).await? {
        Some(principal) => sessions::logout(&platform.store, &principal).await?,
        None => return Err(Error::unauthenticated().into()),
    }
    Ok(([cookie::drop()], go("/login")).into_response())
}

/// The device page when a code waits, else home; never an address that somebody put into a link.
fn after_login(code: &str) -> String {
    let plain: String = code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(9).collect();
    if plain.is_empty() { "/".to_owned() } else { format!("/device?code={plain}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_leads_a_login_to_another_site() {
        assert_eq!(after_login("BCDF-GHJK"), "/device?code=BCDF-GHJK");
        for odd in ["//evil.example", "\\evil", "https://evil.example/", "/\r\nSet-Cookie: x"] {
            let to = after_login(odd);
            assert!(to == "/" || to.starts_with("/device?code="), "{to}");
            assert!(
                to["/device?code=".len().min(to.len())..]
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            );
        }
    }
}
