//! Pushes that fail for a reason that passes: a real registry behind a proxy that garbles some of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::TRANSFER_ENCODING;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use panda_builder::build::{BuildOutcome, BuildRequest};
use panda_builder::failure::BuildError;
use panda_builder::log::BuildEvent;
use panda_domain::failure::FailureCode;
use panda_test_support::spare_builder::build_gateway;
use tokio_util::task::AbortOnDropHandle;

use crate::ground::{Ground, app, failed, printed, variable};

/// What the proxy answers instead of passing a request on.
struct Fault {
    /// The requests meant, by a part of their path.
    path: &'static str,
    method: Method,
    status: StatusCode,
    body: &'static str,
    /// So many of them are answered so.
    times: usize,
}

/// A registry that fails as told, where the run's builders reach it; gone with the handle.
struct Faulty {
    host: String,
    met: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl Faulty {
    async fn start(registry: &str, fault: Fault) -> Self {
        let address = format!("{}:0", build_gateway().unwrap());
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (met, fault, base) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(fault), Arc::new(format!("http://{registry}")));
        let counted = met.clone();
        let client = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
        let answer = move |request: Request| {
            let (fault, base, counted, client) =
                (fault.clone(), base.clone(), counted.clone(), client.clone());
            async move {
                let meant = request.method() == fault.method && request.uri().path().contains(fault.path);
                if meant && counted.fetch_add(1, Ordering::SeqCst) < fault.times {
                    return (fault.status, [("content-type", "application/json")], fault.body)
                        .into_response();
                }
                pass_on(&client, &base, request).await
            }
        };
        let router = Router::new().fallback(answer);
        let serving = AbortOnDropHandle::new(tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        }));
        Self { host, met, _serving: serving }
    }

    /// Returns how many of the requests meant have come, those answered well included.
    fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }
}

/// Asks the real registry; the name that it was asked by goes along, so that its redirects lead here again.
async fn pass_on(client: &reqwest::Client, base: &str, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(TRANSFER_ENCODING); // the body goes on as a whole
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let target = parts.uri.path_and_query().unwrap();
    let asked = client.request(parts.method, format!("{base}{target}")).headers(parts.headers).body(body);
    let answer = asked.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(Body::from(answer.bytes().await.unwrap()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Puts a proxy with that fault in front of the run's registry.
async fn behind(fault: Fault) -> Option<(Ground, Faulty)> {
    let ground = Ground::find()?;
    variable("PANDA_TEST_RUN")?; // whose network the proxy listens in
    let faulty = Faulty::start(&ground.registry, fault).await;
    Some((ground, faulty))
}

/// Builds and pushes through the proxy; the last part is the line that the build's own step prints.
async fn push_to(
    faulty: &Faulty,
    ground: &Ground,
) -> (Result<BuildOutcome, BuildError>, Vec<BuildEvent>, String) {
    let mut request: BuildRequest =
        ground.request(&app("hello-node"), "FROM node:22-slim\nCOPY . /app\nARG ONCE\nRUN echo ran $ONCE\n");
    request.registry.host.clone_from(&faulty.host);
    let once = request.build_id.clone();
    request.args.insert("ONCE".to_owned(), once.clone());
    let (result, events) = ground.build(request).await;
    (result, events, format!("ran {once}"))
}

fn notices(events: &[BuildEvent]) -> Vec<&str> {
    let texts = events.iter().filter_map(|event| match event {
        BuildEvent::Notice { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// What distribution answers when a layer that a manifest names got lost on its way.
const BLOB_UNKNOWN: &str =
    r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#;

fn garbled_manifests(times: usize) -> Fault {
    Fault {
        path: "/manifests/",
        method: Method::PUT,
        status: StatusCode::BAD_REQUEST,
        body: BLOB_UNKNOWN,
        times,
    }
}

#[tokio::test]
async fn a_push_that_the_registry_lost_a_layer_of_is_tried_once_more_and_no_step_runs_again() {
    let Some((ground, faulty)) = behind(garbled_manifests(1)).await else { return };
    let (result, events, ran) = push_to(&faulty, &ground).await;
    let outcome = result.unwrap();
    assert_eq!(faulty.met(), 2);
    let notices = notices(&events);
    assert!(notices.len() == 1 && notices[0].contains("trying once more"), "{notices:?}");
    assert_eq!(printed(&events).iter().filter(|line| **line == ran).count(), 1, "{:?}", printed(&events));
    ground.image_config(&outcome).await; // it is there, under that digest
}

#[tokio::test]
async fn a_push_that_fails_twice_is_a_failure_that_may_pass() {
    let Some((ground, faulty)) = behind(garbled_manifests(usize::MAX)).await else { return };
    let (result, events, _) = push_to(&faulty, &ground).await;
    let failure = failed(result);
    assert_eq!(faulty.met(), 2);
    assert_eq!(notices(&events).len(), 1);
    assert_eq!((failure.failure.code, failure.transient), (FailureCode::P111, true), "{failure:?}");
}

#[tokio::test]
async fn a_registry_that_is_unavailable_for_a_moment_costs_that_moment() {
    let fault = Fault {
        path: "/blobs/uploads/",
        method: Method::POST,
        status: StatusCode::SERVICE_UNAVAILABLE,
        body: "{}",
        times: 1,
    };
    let Some((ground, faulty)) = behind(fault).await else { return };
    let (result, events, _) = push_to(&faulty, &ground).await;
    let outcome = result.unwrap();
    assert!(faulty.met() >= 2, "{} uploads", faulty.met());
    // The daemon waits a second and asks again; ours is for what it doesn't take up.
    assert!(notices(&events).is_empty(), "{events:?}");
    ground.image_config(&outcome).await;
}
