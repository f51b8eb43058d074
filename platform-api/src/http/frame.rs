//! The outermost layer: gives a request its id and its peer, times it, counts it and writes its one log line, also
//! when the handler panics; on the way out it writes errors as problems and sets the headers that every answer has.
//!
//! One layer and not five: a router clones everything below a layer for each request, so that each costs the more the more
//! there are.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tracing::{Instrument, info, info_span};

use super::access::require_origin;
use super::metrics::Metrics;
use super::request_id::{HEADER, RequestId};
use super::{Shared, headers, problem};
use crate::auth::Peer;

pub(super) async fn request(State(platform): State<Shared>, mut request: Request, next: Next) -> Response {
    let peer = Peer::of(request.headers(), request.extensions(), &platform.settings.forwarders);
    let id = RequestId::of(request.headers(), &peer, platform.store.ids());
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(peer);
    let method = request.method().clone();
    // The template, never the path: a path or a query may carry names, codes and secrets.
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();

    let uri = request.uri().clone();
    let span = info_span!("request", request.id = %id);
    let started = Instant::now();
    let response = match require_origin(&request) {
        Ok(()) => AssertUnwindSafe(next.run(request).instrument(span))
            .catch_unwind()
            .await
            .unwrap_or_else(problem::of_panic),
        Err(error) => error.into_response(),
    };
    let mut response = problem::render(response, &id, &method, &uri);
    headers::secure(&platform.settings, response.headers_mut());
    let took = started.elapsed();

    let status = response.status().as_u16();
    response.headers_mut().insert(HEADER, id.header());
    Metrics::request(&method, &route, status, took);
    info!(
        request.id = %id,
        http.status = status,
        peer = %peer,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "{method} {route} gave {status}"
    );
    response
}
