//! The rival of the API's reads: a bare handler that looks up the same token and the same row with the same pool.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

/// What the platform asks of a token.
const TOKEN: &str = "select k.id, k.team_id, k.scope, u.email, m.role, t.name as team_name
    from tokens k
    join users u on u.id = k.user_id and u.disabled_at is null
    join memberships m on m.team_id = k.team_id and m.user_id = k.user_id
    join teams t on t.id = k.team_id
    where k.secret_hash = $1 and k.expires_at > $2";
/// What it asks of an app.
const APP: &str = "select p.id, a.name, e.name as environment, p.host, p.generation, p.observed, p.created_at
    from placements p
    join apps a on a.id = p.app_id
    join environments e on e.id = p.environment_id
    where a.team_id = $1 and a.name = $2 and e.name = 'production'";

/// Serves until it is killed.
pub(crate) async fn serve(database: &Path, listen: SocketAddr) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(9))
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", "-256")
        .pragma("query_only", "on");
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .test_before_acquire(false)
        .max_lifetime(None)
        .idle_timeout(Duration::from_mins(10))
        .connect_with(options)
        .await?;
    let router = Router::new().route("/api/v1/apps/{app}", get(read)).with_state(pool);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    Ok(axum::serve(listener, router).await?)
}

async fn read(
    State(pool): State<SqlitePool>,
    UrlPath(app): UrlPath<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let secret = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .ok_or(StatusCode::UNAUTHORIZED)?;
    let hash = Sha256::digest(secret.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let broken = |_: sqlx::Error| StatusCode::INTERNAL_SERVER_ERROR;
    let mut connection = pool.acquire().await.map_err(broken)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let token =
        sqlx::query(TOKEN).bind(hash).bind(now).fetch_optional(&mut *connection).await.map_err(broken)?;
    let team: String = token.ok_or(StatusCode::UNAUTHORIZED)?.try_get("team_id").map_err(broken)?;
    let found =
        sqlx::query(APP).bind(team).bind(app).fetch_optional(&mut *connection).await.map_err(broken)?;
    let row = found.ok_or(StatusCode::NOT_FOUND)?;
    let text = |name: &str| row.try_get::<Option<String>, _>(name).map_err(broken);
    let number = |name: &str| row.try_get::<i64, _>(name).map_err(broken);
    Ok(Json(json!({
        "id": text("id")?,
        "name": text("name")?,
        "environment": text("environment")?,
        "host": text("host")?,
        "generation": number("generation")?,
        "observed": text("observed")?,
        "created_at": number("created_at")?,
    })))
}
