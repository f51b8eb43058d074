//! The HTTP API: thin handlers in front of the use-cases, and the layers that every request passes.
//!
//! [`public_router`] serves people and clients, [`operator_router`] also tells the machine's operator about the server.

mod access;
pub mod apps;
pub mod autoscale;
pub mod certificates;
pub mod claim;
pub mod cookie;
pub mod deployments;
pub mod devices;
pub mod domains;
pub mod env;
pub mod events;
pub mod exec;
mod export;
pub mod extract;
mod frame;
mod headers;
pub mod health;
pub mod logs;
pub mod members;
pub mod metrics;
pub mod moves;
mod openapi;
pub mod origin;
mod paging;
mod ports;
pub mod problem;
pub mod projects;
mod registry_token;
pub mod releases;
mod request_id;
pub mod scale;
pub mod server;
pub mod sessions;
pub mod status;
pub mod tasks;
pub mod tokens;
pub mod uploads;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use utoipa_axum::router::OpenApiRouter;

pub use extract::{Json, Path, Query, Reading, Target, TargetParams};
pub use openapi::document as openapi;
pub use paging::{cursor, page};

use crate::error::Error;
use crate::platform::Platform;

/// What handlers get as their state.
pub type Shared = Arc<Platform>;

/// The largest JSON body, bytes.
const BODY_LIMIT: usize = 1 << 20;

/// Everything that answers within the request's deadline; streams too, because only their beginning is timed.
fn quick_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(server::routes())
        .merge(claim::routes())
        .merge(sessions::routes())
        .merge(devices::routes())
        .merge(tokens::routes())
        .merge(members::routes())
        .merge(projects::routes())
        .merge(apps::routes())
        .merge(scale::routes())
        .merge(autoscale::routes())
        .merge(env::routes())
        .merge(moves::routes())
        .merge(domains::routes())
        .merge(certificates::routes())
        .merge(ports::routes())
        .merge(events::routes())
        .merge(deployments::routes())
        .merge(releases::routes())
        .merge(logs::routes())
        .merge(exec::routes())
        .merge(tasks::routes())
        .merge(status::routes())
        .merge(export::routes())
}

/// Everything whose request body is large and may take its time; each route sets its own limits.
fn slow_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().merge(uploads::routes()).merge(uploads::listing_routes()).merge(moves::slow_routes())
}

/// All routes below `/api/v1`, with their document.
fn api(platform: &Shared) -> OpenApiRouter<Shared> {
    let quick = quick_routes().layer(middleware::from_fn_with_state(platform.clone(), access::in_bounds));
    let slow = slow_routes()
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(platform.clone(), access::only_when_claimed));
    let routes = quick.merge(slow);
    OpenApiRouter::with_openapi(openapi::base()).nest("/api/v1", routes)
}

/// Returns the router for people and clients; `pages` are the dashboard's.
pub fn public_router(platform: &Shared, pages: Router) -> Router {
    finish(platform, pages, Router::new())
}

/// Returns the router for listeners that only this machine reaches: the public one and `/metrics`.
pub fn operator_router(platform: &Shared, pages: Router) -> Router {
    finish(platform, pages, metrics::routes())
}

fn finish(platform: &Shared, pages: Router, more: Router<Shared>) -> Router {
    let (api, document) = api(platform).split_for_parts();
    api.merge(openapi::routes(&document))
        .merge(health::routes())
        .merge(registry_token::routes())
        .merge(more)
        .with_state(platform.clone())
        .merge(pages.layer(RequestBodyLimitLayer::new(BODY_LIMIT)))
        .fallback(async || Error::not_found("page"))
        .layer(
            // In one, because a router boxes and clones each of its layers for each request.
            ServiceBuilder::new()
                .layer(CompressionLayer::new())
                .layer(middleware::from_fn_with_state(platform.clone(), frame::request))
                .layer(origin::csrf(&platform.settings)),
        )
}
