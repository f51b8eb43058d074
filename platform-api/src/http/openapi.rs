//! The API's document, made from the routes themselves.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, SecurityRequirement};

use super::{Shared, cookie};

/// Returns the document before any route is in it.
pub(super) fn base() -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API token: `panda_…`"))
        .build();
    let session = ApiKey::Cookie(ApiKeyValue::new(cookie::NAME));
    let components = ComponentsBuilder::new()
        .security_scheme("token", SecurityScheme::Http(bearer))
        .security_scheme("session", SecurityScheme::ApiKey(session));
    let none: [&str; 0] = [];
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Panda")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Deploys, releases, apps and what belongs to them. Errors are problem+json.",
                ))
                .build(),
        )
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new("token", none), SecurityRequirement::new("session", none)]))
        .build()
}

/// Returns the whole document.
pub fn document(platform: &Shared) -> OpenApi {
    super::api(platform).split_for_parts().1
}

/// Serves the document.
pub(super) fn routes(document: &OpenApi) -> Router<Shared> {
    let text = document.to_json().expect("the document is made of texts and numbers");
    let text: axum::body::Bytes = text.into();
    let serve = async move || ([(header::CONTENT_TYPE, "application/json")], text.clone());
    Router::new().route("/api/openapi.json", get(serve))
}
