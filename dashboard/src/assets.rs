//! Style and script: part of the binary, so that nothing comes from elsewhere.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use panda_platform_api::http::Shared;

const STYLE: &str = include_str!("../assets/panda.css");
const DOCS_SCRIPT: &str = include_str!("../assets/docs.js");

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/assets/panda.css", get(async || kept("text/css; charset=utf-8", STYLE)))
        .route("/assets/docs.js", get(async || kept("text/javascript; charset=utf-8", DOCS_SCRIPT)))
}

/// For an hour: a new version of the server has to be seen soon.
fn kept(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=3600")], text)
}
