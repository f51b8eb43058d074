//! What the store's reads cost beside the same statements on a bare pool: `cargo run --release --example read_cost`.
//!
//! Prints medians of interleaved rounds, microseconds a request (a token's look-up and a placement's).
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, run by hand")]

use std::time::{Duration, Instant};

use panda_domain::ids::TeamId;
use panda_domain::names::{AppName, EnvironmentName};
use panda_domain::team::{Role, Scope};
use panda_store::testing::TestStore;
use panda_store::{NewToken, NewUser};
use sqlx::Row as _;

const ROUNDS: usize = 15;
const REQUESTS: u32 = 1000;

const TOKEN: &str =
    "select k.id, k.team_id, k.user_id, k.name, k.scope, k.created_at, k.expires_at, k.last_used_at,
    u.email, m.role, t.name as team_name from tokens k
    join users u on u.id = k.user_id and u.disabled_at is null
    join memberships m on m.team_id = k.team_id and m.user_id = k.user_id
    join teams t on t.id = k.team_id where k.secret_hash = $1 and k.expires_at > $2";
const PLACEMENT: &str = "select p.id, p.team_id, p.app_id, a.name as app_name, p.environment_id,
    e.name as environment_name, p.host, p.generation, p.converged_generation, p.desired_release_id,
    p.desired_revision, p.last_good_release_id, p.last_good_revision, p.env_version, p.observed, p.observed_at,
    p.deleting_at, p.created_at, j.name as project_name from placements p
    join apps a on a.id = p.app_id join environments e on e.id = p.environment_id
    join projects j on j.id = a.project_id where a.team_id = $1 and a.name = $2 and e.name = $3";

async fn fill(test: &TestStore) -> TeamId {
    let mut tx = test.store.begin().await.unwrap();
    let email = "a@example.com".parse().unwrap();
    let user = tx.insert_user(&NewUser { email, password_hash: "h".to_owned() }).await.unwrap();
    let team = tx.insert_team(&"acme".parse().unwrap()).await.unwrap();
    tx.add_member(&team.id, &user.id, Role::Owner).await.unwrap();
    let project = tx.ensure_project(&team.id, &"default".parse().unwrap()).await.unwrap();
    let environment =
        tx.ensure_environment(&team.id, &project.id, &"production".parse().unwrap()).await.unwrap();
    for n in 0..100 {
        let app = tx.insert_app(&team.id, &project.id, &format!("shop-{n}").parse().unwrap()).await.unwrap();
        tx.insert_placement(&app, &environment, &format!("shop-{n}.localhost")).await.unwrap();
    }
    let token = NewToken {
        team: team.id.clone(),
        user: user.id,
        name: "ci".parse().unwrap(),
        scope: Scope::Full,
        secret_hash: "hash".to_owned(),
        expires_at: test.clock.now() + Duration::from_hours(1),
    };
    tx.insert_token(&token).await.unwrap();
    tx.commit().await.unwrap();
    team.id
}

async fn with_store(test: &TestStore, app: &AppName, environment: &EnvironmentName) -> f64 {
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        let mut tx = test.store.read().await.unwrap();
        let (token, ..) = tx.token_principal("hash").await.unwrap().unwrap();
        assert!(tx.placement_by_names(&token.team, app, environment).await.unwrap().is_some());
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
}

/// The least that a handler on the bare driver could do: the same statements, all columns read as they are.
macro_rules! bare {
    ($pool:expr, $test:expr, $team:expr) => {{
        let begun = Instant::now();
        for _ in 0..REQUESTS {
            let mut connection = $pool.acquire().await.unwrap();
            let now = $test.clock.now_ms();
            let row = sqlx::query(TOKEN).bind("hash").bind(now).fetch_one(&mut *connection).await.unwrap();
            for column in ["id", "team_id", "user_id", "name", "scope", "email", "role", "team_name"] {
                assert!(!row.get::<String, _>(column).is_empty());
            }
            for column in ["created_at", "expires_at", "last_used_at"] {
                std::hint::black_box(row.get::<Option<i64>, _>(column));
            }
            let row = sqlx::query(PLACEMENT).bind($team.as_str()).bind("shop-50").bind("production");
            let row = row.fetch_one(&mut *connection).await.unwrap();
            for column in ["id", "team_id", "app_id", "app_name", "environment_id", "host", "project_name"] {
                assert!(!row.get::<String, _>(column).is_empty());
            }
            for column in ["environment_name", "desired_release_id", "last_good_release_id", "observed"] {
                std::hint::black_box(row.get::<Option<String>, _>(column));
            }
            for column in ["generation", "converged_generation", "desired_revision", "last_good_revision"] {
                std::hint::black_box(row.get::<i64, _>(column));
            }
            for column in ["env_version", "observed_at", "deleting_at", "created_at"] {
                std::hint::black_box(row.get::<Option<i64>, _>(column));
            }
        }
        begun.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
    }};
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

#[tokio::main]
async fn main() {
    for test in TestStore::each().await {
        let team = fill(&test).await;
        let (app, environment) = ("shop-50".parse().unwrap(), "production".parse().unwrap());
        let (mut store, mut bare) = (Vec::new(), Vec::new());
        let url = test.config.url.clone();
        if url.starts_with("sqlite") {
            let options =
                sqlx::sqlite::SqlitePoolOptions::new().max_connections(8).test_before_acquire(false);
            let pool = options.connect(&url).await.unwrap();
            for _ in 0..ROUNDS {
                store.push(with_store(&test, &app, &environment).await);
                bare.push(bare!(pool, test, team));
            }
        } else {
            let options = sqlx::postgres::PgPoolOptions::new().max_connections(8).test_before_acquire(false);
            let pool = options.connect(&url).await.unwrap();
            for _ in 0..ROUNDS {
                store.push(with_store(&test, &app, &environment).await);
                bare.push(bare!(pool, test, team));
            }
            pool.close().await;
        }
        let (store, bare) = (median(store), median(bare));
        println!(
            "{:?}: store {store:.1} µs, bare {bare:.1} µs, {:.2} of the speed",
            test.backend(),
            bare / store
        );
    }
}
