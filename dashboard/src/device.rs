//! Approving a terminal's login.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use panda_platform_api::app::devices;
use panda_platform_api::http::Shared;
use serde::Deserialize;

use crate::page::{PageError, go, html, notice, viewer};

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/device", get(show).post(decide))
}

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage {
    email: String,
    url: String,
    typed: String,
    waiting: Option<devices::Waiting>,
    problem: Option<String>,
    done: Option<&'static str>,
}

#[derive(Deserialize)]
struct CodeQuery {
    #[serde(default)]
    code: String,
}

async fn show(
    State(platform): State<Shared>,
    Query(query): Query<CodeQuery>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let Some(principal) = viewer(&platform, &headers).await? else {
        let code: String =
            query.code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(9).collect();
        return Ok(go(&format!("/login?code={code}")));
    };
    let mut page = DevicePage {
        email: principal.email.to_string(),
        url: platform.settings.page(""),
        typed: query.code.clone(),
        waiting: None,
        problem: None,
        done: None,
    };
    if query.code.is_empty() {
        return Ok(html(StatusCode::OK, &page));
    }
    match devices::waiting(&platform.store, &principal, &query.code).await {
        Ok(waiting) => {
            page.waiting = Some(waiting);
            Ok(html(StatusCode::OK, &page))
        }
        Err(error) => {
            let (status, text) = notice(error)?;
            page.problem = Some(text);
            Ok(html(status, &page))
        }
    }
}

#[derive(Deserialize)]
struct DecisionForm {
    code: String,
    decision: Decision,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Decision {
    Approve,
    Deny,
}

async fn decide(
    State(platform): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<DecisionForm>,
) -> Result<Response, PageError> {
    let Some(principal) = viewer(&platform, &headers).await? else { return Ok(go("/login")) };
    let approve = form.decision == Decision::Approve;
    let mut page = DevicePage {
        email: principal.email.to_string(),
        url: platform.settings.page(""),
        typed: String::new(),
        waiting: None,
        problem: None,
        done: None,
    };
    match devices::decide(&platform.store, &principal, &form.code, approve).await {
        Ok(()) => {
            page.done = Some(if approve {
                "The terminal is signed in. You can close this page."
            } else {
                "The login was denied. If you didn't start it, nothing else is to be done."
            });
            Ok(html(StatusCode::OK, &page))
        }
        Err(error) => {
            let (status, text) = notice(error)?;
            page.problem = Some(text);
            Ok(html(status, &page))
        }
    }
}
