//! The pages of Panda for people with a browser.
//!
//! A page calls the use-cases of `panda-platform-api` and never the store. It works without JavaScript; the API's document is
//! the one that needs some. Nothing is inline, so that the strict content security policy holds.

mod account;
mod assets;
mod device;
mod docs;
mod page;

use axum::Router;
use panda_platform_api::http::Shared;

/// Returns the pages; they are served inside the layers of `panda_platform_api::http`.
pub fn router(platform: &Shared) -> Router {
    Router::new()
        .merge(account::routes())
        .merge(device::routes())
        .merge(docs::routes())
        .merge(assets::routes())
        .with_state(platform.clone())
}
