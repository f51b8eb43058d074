//! Variables and secrets.

use std::collections::BTreeSet;

use axum::extract::State;
use panda_api_types::{
    EnvChangeRequest, EnvChanged, EnvHistoryEntry, EnvVariable, FieldError, Page, PageQuery,
};
use panda_domain::env::{EnvChange, EnvValue};
use panda_domain::names::EnvKey;
use panda_domain::secret::Secret;
use panda_store::{Cursor, EnvHistoryRow, EnvRow};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging::whole;
use super::{Json, Query, Shared, Target, TargetParams, cursor, deployments};
use crate::app::deployments::Accepted;
use crate::app::env::{self, EnvChanges, Wish};
use crate::auth::Principal;
use crate::error::{Error, Result};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, change)).routes(routes!(history))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Give the values of plain variables too; written down in the events.
    #[serde(default)]
    reveal: bool,
}

/// The variables of an app. Secrets have no value here, ever.
#[utoipa::path(get, path = "/apps/{app}/env", tag = "env", params(TargetParams, ListQuery),
    responses((status = 200, body = Page<EnvVariable>)))]
async fn list(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<EnvVariable>>> {
    let Target { app, environment } = &target;
    let listing = env::list(&platform.store, &principal, app, environment, query.reveal).await?;
    let deployed = listing.deployed_version;
    Ok(Json(whole(listing.rows, |row| shown(row, deployed, query.reveal))))
}

fn shown(row: EnvRow, deployed: Option<i64>, reveal: bool) -> EnvVariable {
    EnvVariable {
        key: row.key.to_string(),
        value: (reveal && !row.value.secret).then(|| row.value.value.reveal().to_owned()),
        secret: row.value.secret,
        fingerprint: row.fingerprint,
        version: row.version,
        set_by: row.actor.shown().to_owned(),
        set_at: row.at.to_string(),
        deployed: deployed.is_some_and(|version| row.version <= version),
    }
}

/// Changes variables in one step.
#[utoipa::path(patch, path = "/apps/{app}/env", tag = "env", params(TargetParams),
    request_body = EnvChangeRequest, responses((status = 200, body = EnvChanged)))]
async fn change(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Json(body): Json<EnvChangeRequest>,
) -> Result<Json<EnvChanged>> {
    let changes = parse(&body)?;
    let Target { app, environment } = &target;
    let wish = Wish { changes: &changes, deploy: body.deploy, dry_run: body.dry_run };
    let changed = env::change(&platform.store, &principal, app, environment, wish).await?;
    let outcomes = changed.outcomes.iter();
    let changes = outcomes.map(|(key, outcome)| (key.to_string(), outcome.word().to_owned())).collect();
    let deployment = match changed.deployment {
        Some(deployment) => {
            let accepted = Accepted { row: changed.row, deployment: Some(deployment), notices: Vec::new() };
            Some(deployments::accepted_view(&platform, &principal, &target, accepted).await?)
        }
        None => None,
    };
    Ok(Json(EnvChanged { version: changed.version, changes, deployment }))
}

/// Parses all changes and names every wrong one.
fn parse(body: &EnvChangeRequest) -> Result<EnvChanges> {
    let mut changes = EnvChanges::new();
    let mut wrong = Vec::new();
    for (name, patch) in &body.changes {
        match name.parse::<EnvKey>() {
            Ok(key) => {
                let change = match &patch.value {
                    Some(value) => {
                        EnvChange::Set(EnvValue { value: Secret::new(value), secret: patch.secret })
                    }
                    None => EnvChange::Unset,
                };
                changes.insert(key, change);
            }
            Err(error) => {
                let message = format!("{error}: {}", error.fix());
                wrong.push(FieldError { field: format!("changes.{}", error.value), message });
            }
        }
    }
    if wrong.is_empty() { Ok(changes) } else { Err(Error::invalid_fields(wrong)) }
}

/// Past changes, the newest first; no values.
#[utoipa::path(get, path = "/apps/{app}/env/history", tag = "env", params(TargetParams, PageQuery),
    responses((status = 200, body = Page<EnvHistoryEntry>)))]
async fn history(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<EnvHistoryEntry>>> {
    let cursor = cursor(query)?;
    let Target { app, environment } = &target;
    let rows = env::history(&platform.store, &principal, app, environment, &cursor).await?;
    Ok(Json(shown_history(rows, &cursor)))
}

/// A page has whole versions, so it may have more rows than its limit.
fn shown_history(rows: Vec<EnvHistoryRow>, cursor: &Cursor) -> Page<EnvHistoryEntry> {
    let versions: BTreeSet<i64> = rows.iter().map(|row| row.version).collect();
    let full = versions.len() >= cursor.limit as usize;
    let next_cursor = versions.first().filter(|_| full).map(ToString::to_string);
    Page { next_cursor, ..whole(rows, |row| shown_change(&row)) }
}

fn shown_change(row: &EnvHistoryRow) -> EnvHistoryEntry {
    EnvHistoryEntry {
        version: row.version,
        key: row.key.to_string(),
        change: if row.set { "set" } else { "unset" }.to_owned(),
        secret: row.secret,
        by: row.actor.shown().to_owned(),
        at: row.at.to_string(),
    }
}
