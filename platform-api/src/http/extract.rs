//! What handlers take: parsed once, refused as problems.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use panda_api_types::ErrorCode;
use panda_domain::names::{AppName, EnvironmentName};
use panda_store::Tx;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::{IntoParams, PartialSchema};

use super::{Shared, cookie};
use crate::auth::{Peer, Principal, secret};
use crate::error::{Error, InField, Result};

/// A JSON body, in or out.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        if !says_json(&request) {
            return Err(Error::new(ErrorCode::InvalidRequest, "the body has to be `application/json`")
                .with_hint("send JSON with the header `Content-Type: application/json`"));
        }
        let body = Bytes::from_request(request, state).await.map_err(|rejection| unreadable(&rejection))?;
        let mut reader = serde_json::Deserializer::from_slice(&body);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let field = error.path().to_string();
            let field = if field == "." { String::new() } else { field };
            Error::invalid_field(field, without_values(&error.into_inner()))
        })?;
        reader.end().map_err(|error| Error::invalid_field("", without_values(&error)))?;
        Ok(Self(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn says_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn unreadable(rejection: &BytesRejection) -> Error {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Error::new(ErrorCode::TooLarge, "the request's body is too large")
            .with_hint("send less at once; large values belong into files of the source")
    } else {
        Error::new(ErrorCode::InvalidRequest, "the request's body ended early or can't be read")
            .with_hint("send it again")
    }
}

/// Says what is wrong without repeating what was sent: that may be a password.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if !text.starts_with("invalid type") && !text.starts_with("invalid value") {
        return text;
    }
    let expected = text.split(", expected ").nth(1).and_then(|rest| rest.rsplit_once(" at line"));
    match expected {
        Some((expected, _)) => format!("has to be {}", humane(expected)),
        None => "has a value of the wrong kind".to_owned(),
    }
}

/// Says a type's name as people do.
fn humane(expected: &str) -> &str {
    match expected {
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i64" => "a whole number",
        "a string" => "a text",
        "a map" => "an object",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

/// Parameters of the query.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let axum::extract::Query(value) = axum::extract::Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| wrong_parameter(&rejection))?;
        Ok(Self(value))
    }
}

/// Names the parameter that is wrong; without its value, as for bodies.
fn wrong_parameter(rejection: &QueryRejection) -> Error {
    let mut inner: &dyn std::error::Error = rejection;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    let plain = |field: &str| field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match text.split_once(": ").filter(|(field, _)| plain(field)) {
        Some((field, cause)) => Error::invalid_field(field, format!("this parameter is wrong: {cause}")),
        None => Error::new(ErrorCode::InvalidRequest, format!("the query is wrong: {text}")),
    }
    .with_hint("`/docs` has all parameters")
}

/// Parameters of the path. One that is no id of its kind names nothing, and is answered like what isn't there.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let axum::extract::Path(value) = axum::extract::Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::not_found("object"))?;
        Ok(Self(value))
    }
}

/// The app and the environment that a path below `/apps/{app}` means.
#[derive(Debug, Clone)]
pub struct Target {
    /// The app.
    pub app: AppName,
    /// The environment, `production` unless the query says otherwise.
    pub environment: EnvironmentName,
}

/// What [`Target`] is made of, for the document.
#[derive(Debug)]
pub struct TargetParams;

impl IntoParams for TargetParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let app = ParameterBuilder::new()
            .name("app")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The app's name."))
            .schema(Some(String::schema()));
        let environment = ParameterBuilder::new()
            .name("environment")
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some("The environment's name, `production` unless given."))
            .schema(Some(String::schema()));
        vec![app.build(), environment.build()]
    }
}

#[derive(Deserialize)]
struct EnvironmentQuery {
    environment: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| no_app())?;
        let app = params.iter().find(|(name, _)| *name == "app").ok_or_else(no_app)?.1;
        let app = app.parse().map_err(|_| no_app())?;
        let Query(query) = Query::<EnvironmentQuery>::from_request_parts(parts, state).await?;
        let environment = match query.environment {
            Some(name) => name.parse::<EnvironmentName>().in_field("environment")?,
            None => EnvironmentName::production(),
        };
        Ok(Self { app, environment })
    }
}

fn no_app() -> Error {
    Error::not_found("app")
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        parts.extensions.get().copied().ok_or_else(|| Error::internal("the request has no peer"))
    }
}

impl FromRequestParts<Shared> for Principal {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, platform: &Shared) -> Result<Self> {
        Ok(who_asks(parts, platform).await?.0)
    }
}

/// Who asks, with the connection that they were looked up on: for handlers that answer from the state at once. A second
/// connection would cost as much as a query.
pub struct Reading {
    /// Who asks.
    pub principal: Principal,
    /// For reads.
    pub tx: Tx,
}

impl FromRequestParts<Shared> for Reading {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, platform: &Shared) -> Result<Self> {
        let (principal, tx) = who_asks(parts, platform).await?;
        let tx = match tx {
            Some(tx) => tx,
            None => platform.store.read().await?,
        };
        Ok(Self { principal, tx })
    }
}

/// Returns who asks, and the connection that they were looked up on if that was necessary.
async fn who_asks(parts: &mut Parts, platform: &Shared) -> Result<(Principal, Option<Tx>)> {
    let peer = Peer::from_request_parts(parts, platform).await?;
    platform.attempts.allow(&peer)?;
    let Some((principal, tx)) = look_up(parts, platform).await? else {
        platform.attempts.failed(&peer);
        return Err(Error::unauthenticated());
    };
    if principal.is_use_due(&platform.store) {
        // Never one connection in hand while waiting for another: enough such requests would wait for each other.
        drop(tx);
        principal.note_use(&platform.store).await;
        return Ok((principal, None));
    }
    Ok((principal, tx))
}

async fn look_up(parts: &Parts, platform: &Shared) -> Result<Option<(Principal, Option<Tx>)>> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let Some(hash) = value.to_str().ok().and_then(bearer).and_then(secret::hash_of_token) else {
            return Ok(None);
        };
        return by_token(platform, hash).await;
    }
    let Some(secret) = cookie::secret_of(&parts.headers) else { return Err(Error::unauthenticated()) };
    let mut tx = platform.store.read().await?;
    Ok(Principal::by_session(&mut tx, &secret).await?.map(|principal| (principal, Some(tx))))
}

async fn by_token(platform: &Shared, hash: String) -> Result<Option<(Principal, Option<Tx>)>> {
    if let Some(principal) = platform.known_tokens.get(&platform.store, &hash) {
        return Ok(Some((principal, None)));
    }
    let mark = platform.store.identity_mark();
    let mut tx = platform.store.read().await?;
    let Some((principal, expires_at)) = Principal::by_token_hash(&mut tx, hash).await? else {
        return Ok(None);
    };
    platform.known_tokens.keep(&platform.store, mark, &principal, expires_at);
    Ok(Some((principal, Some(tx))))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The browser's own words about itself.
#[derive(Debug)]
pub struct UserAgent(pub String);

impl<S: Send + Sync> FromRequestParts<S> for UserAgent {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok());
        Ok(Self(agent.unwrap_or("unknown").to_owned()))
    }
}
