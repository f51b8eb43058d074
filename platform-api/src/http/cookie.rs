//! The session's cookie: for this host alone, out of reach of scripts and of other sites' forms.

use axum::http::{HeaderMap, HeaderValue, header};
use axum_extra::extract::CookieJar;

use crate::app::sessions::SignedIn;

/// Browsers accept this name only with `Secure`, `Path=/` and no `Domain`: no app's host can plant it.
pub const NAME: &str = "__Host-panda";

const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// Returns the secret that the request's cookie carries.
pub fn secret_of(headers: &HeaderMap) -> Option<String> {
    CookieJar::from_headers(headers).get(NAME).map(|cookie| cookie.value().to_owned())
}

/// Returns the header that keeps a fresh session in the browser.
pub fn keep(session: &SignedIn) -> (header::HeaderName, HeaderValue) {
    set(&format!("{NAME}={}; Max-Age={}; {ATTRIBUTES}", session.secret.reveal(), session.max_age_s))
}

/// Returns the header that takes the session out of the browser.
pub fn drop() -> (header::HeaderName, HeaderValue) {
    set(&format!("{NAME}=; Max-Age=0; {ATTRIBUTES}"))
}

fn set(text: &str) -> (header::HeaderName, HeaderValue) {
    let mut value = HeaderValue::from_str(text).expect("a secret is base64url");
    value.set_sensitive(true);
    (header::SET_COOKIE, value)
}
