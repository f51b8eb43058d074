//! Which pages may talk to the server with a person's cookie: its own.

use axum::body::Body;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::auth::{Principal, Via};
use crate::error::{Error, Result};
use crate::platform::PlatformSettings;

type Refuse = fn(ProtectionError) -> Response<Body>;

/// Returns the layer that refuses what another site's page sent.
pub(super) fn csrf(settings: &PlatformSettings) -> CsrfLayer<Refuse> {
    let own = own_origin(settings);
    let layer = CsrfLayer::new().add_trusted_origin(&own).unwrap_or_else(|error| {
        tracing::warn!("the public url `{own}` is no origin of a browser: {error}");
        CsrfLayer::new()
    });
    layer.with_rejection_response(refuse as Refuse)
}

fn refuse(_: ProtectionError) -> Response {
    Error::forbidden("the request comes from another site").into_response()
}

/// Refuses a WebSocket that another site's page opens, or that carries its token where logs would keep it.
pub fn require_own_origin(
    settings: &PlatformSettings,
    principal: &Principal,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<()> {
    if query_has_secret(uri) {
        return Err(Error::forbidden(
            "a token belongs into the `Authorization` header, never into the address",
        ));
    }
    let origin = headers.get(header::ORIGIN);
    let by_cookie = matches!(principal.via, Via::Session(_));
    match origin {
        None if by_cookie => {
            Err(Error::forbidden("a WebSocket with the session's cookie has to say its origin"))
        }
        None => Ok(()),
        Some(origin) if origin.as_bytes() == own_origin(settings).as_bytes() => Ok(()),
        Some(origin) if is_host(origin.as_bytes(), headers) => Ok(()),
        Some(_) => Err(Error::forbidden("the WebSocket comes from another site")),
    }
}

fn own_origin(settings: &PlatformSettings) -> String {
    settings.public_url.origin().ascii_serialization()
}

fn is_host(origin: &[u8], headers: &HeaderMap) -> bool {
    let authority = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
    match (authority, headers.get(header::HOST)) {
        (Some(authority), Some(host)) => !authority.is_empty() && authority == host.as_bytes(),
        _ => false,
    }
}

fn query_has_secret(uri: &Uri) -> bool {
    let names = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split('=').next());
    names.into_iter().any(|name| matches!(name, "token" | "access_token" | "authorization"))
}
