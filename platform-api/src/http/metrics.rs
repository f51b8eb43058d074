//! Figures for the operator, in Prometheus' text format.

use std::sync::OnceLock;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::Shared;
use crate::auth::Peer;
use crate::error::{Error, Result};

/// Upper bounds of the latency classes, seconds.
const LATENCIES: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The process's figures. There is one set a process, however often it is installed.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

static INSTALLED: OnceLock<Metrics> = OnceLock::new();

impl Metrics {
    /// Makes the macros of the `metrics` crate count here; later calls return the same set.
    pub fn install() -> Self {
        INSTALLED
            .get_or_init(|| {
                let builder = PrometheusBuilder::new()
                    .set_buckets(LATENCIES)
                    .expect("the list of latency classes isn't empty");
                let recorder = builder.build_recorder();
                let handle = recorder.handle();
                if metrics::set_global_recorder(recorder).is_err() {
                    tracing::warn!("another metrics recorder is installed; /metrics stays empty");
                }
                metrics::describe_counter!("panda_http_requests_total", "Requests by route and status.");
                metrics::describe_histogram!("panda_http_request_seconds", "Time to the answer's beginning.");
                Self(handle)
            })
            .clone()
    }

    /// Counts and times one request.
    pub(super) fn request(method: &Method, route: &str, status: u16, took: Duration) {
        let method = known(method);
        let route = route.to_owned();
        let labels =
            [("method", method.to_owned()), ("route", route.clone()), ("status", status.to_string())];
        metrics::counter!("panda_http_requests_total", &labels).increment(1);
        metrics::histogram!("panda_http_request_seconds", "method" => method, "route" => route)
            .record(took.as_secs_f64());
    }

    /// Sorts the samples that came in since the last time into their classes, which frees them.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }

    /// Returns all figures as text.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

/// Methods are a label: what isn't known must not make new series.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/metrics", get(show))
}

async fn show(
    State(platform): State<Shared>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<impl IntoResponse> {
    if !peer.is_operator(&headers) {
        return Err(Error::not_found("page"));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], platform.metrics.render()))
}
