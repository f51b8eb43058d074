//! Releases.

use axum::extract::State;
use panda_api_types::{Page, PageQuery, Release, ReleaseChange, ReleaseDiff};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Path, Query, Shared, Target, TargetParams, cursor, page};
use crate::app::releases::{self, KnownRelease};
use crate::auth::Principal;
use crate::error::{Error, Result};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(diff)).routes(routes!(show))
}

#[derive(Debug, Deserialize)]
struct ReleasePath {
    number: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// The older release's number.
    from: u32,
    /// The newer release's number.
    to: u32,
}

/// An app's releases, the newest first.
#[utoipa::path(get, path = "/apps/{app}/releases", tag = "releases", params(TargetParams, PageQuery),
    responses((status = 200, body = Page<Release>)))]
async fn list(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(paging): Query<PageQuery>,
) -> Result<Json<Page<Release>>> {
    let cursor = cursor(paging)?;
    let known = releases::list(&platform, &principal, &target.app, &target.environment, &cursor).await?;
    Ok(Json(page(known, &cursor, |r| r.row.number.to_string(), view)))
}

/// One release.
#[utoipa::path(get, path = "/apps/{app}/releases/{number}", tag = "releases", params(TargetParams, ("number" = u32, Path,)),
    responses((status = 200, body = Release)))]
async fn show(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(path): Path<ReleasePath>,
) -> Result<Json<Release>> {
    let number = path.number.parse().map_err(|_| Error::not_found("release"))?;
    let known = releases::show(&platform, &principal, &target.app, &target.environment, number).await?;
    Ok(Json(view(known)))
}

/// What differs between two releases; values of secrets are never shown.
#[utoipa::path(get, path = "/apps/{app}/releases/diff", tag = "releases", params(TargetParams, DiffQuery),
    responses((status = 200, body = ReleaseDiff)))]
async fn diff(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(query): Query<DiffQuery>,
) -> Result<Json<ReleaseDiff>> {
    let found =
        releases::diff(&platform, &principal, &target.app, &target.environment, query.from, query.to).await?;
    let changes =
        found.into_iter().map(|d| ReleaseChange { what: d.what, before: d.before, after: d.after }).collect();
    Ok(Json(ReleaseDiff { from: query.from, to: query.to, changes }))
}

fn view(known: KnownRelease) -> Release {
    let row = known.row;
    let command = |argv: &Option<Vec<String>>| {
        argv.as_ref().map_or_else(|| "image default".to_owned(), |a| a.join(" "))
    };
    Release {
        number: row.number,
        image: format!("{}@{}", row.image.repository, row.image.digest),
        source: row.source.short(),
        git_sha: row.source.git_sha().map(str::to_owned),
        copy_of: row.copy_of,
        env_version: row.env_version,
        processes: row
            .config
            .processes
            .iter()
            .map(|(name, p)| (name.to_string(), command(&p.command)))
            .collect(),
        by: row.actor.shown().to_owned(),
        created_at: row.created_at.to_string(),
        serving: known.serving,
        outcome: known.outcome,
    }
}
