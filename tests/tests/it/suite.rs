//! One suite over HTTP, the same on both databases.

use panda_api_types::{
    App as AppView, Deployment, DoctorCheck, EnvHistoryEntry, EnvVariable, ErrorCode, EventView, Page,
    Project, Session, Status, TaskView, Token, TokenCreated, TokenRequest, Whoami,
};
use panda_e2e::{App, Database, Installation, Options, Refusal, cluster_story_with, image, story_with};
use serde_json::json;

fn on(database: Database) {
    story_with(|_| Ok(Options { database, ..Options::default() }), whole);
}

async fn whole(panda: &Installation) -> anyhow::Result<()> {
    account(panda).await?;
    let app = App::create(panda, "shop").await?;
    app_life(panda, &app).await?;
    scoped_tokens(panda, &app).await?;
    restart(panda, &app).await
}

#[test]
fn the_suite_holds_on_sqlite() {
    on(Database::Sqlite);
}

#[test]
fn the_suite_holds_on_postgresql() {
    on(Database::Postgres);
}

#[test]
fn the_suite_holds_on_kubernetes_with_postgresql() {
    let options = || Options { database: Database::Postgres, ..Options::default() };
    cluster_story_with(|_| Ok(options()), whole);
}

/// Demands a refusal with this code.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Refusal>, code: ErrorCode) {
    assert_eq!(answer.expect_err("it has to be refused").code(), Some(code));
}

async fn account(panda: &Installation) -> anyhow::Result<()> {
    let me: Whoami = panda.api().get("/whoami").await?;
    assert_eq!((me.role.as_str(), me.via.as_str(), me.scope.as_str()), ("owner", "token", "full"));
    let again = panda.api().without_token().request(reqwest::Method::POST, "/claim");
    let claim = json!({ "claim_token": "claim_x", "email": "a@example.com", "password": "another password" });
    let claimed = panda_e2e::api::body(again.json(&claim)).await;
    refused(claimed, ErrorCode::Expired);
    let sessions: Page<Session> = panda.api().get("/sessions").await?;
    assert_eq!(sessions.items.len(), 1, "{sessions:?}");
    let checks: Page<DoctorCheck> = panda.api().get("/doctor").await?;
    assert!(!checks.items.is_empty());
    Ok(())
}

async fn app_life(panda: &Installation, app: &App<'_>) -> anyhow::Result<()> {
    let taken: Result<AppView, _> = panda.api().post("/apps", &json!({ "name": "shop" })).await;
    refused(taken, ErrorCode::NameTaken);
    let nobody: Result<AppView, _> = panda.api().get("/apps/nobody").await;
    refused(nobody, ErrorCode::NotFound);
    let projects: Page<Project> = panda.api().get("/projects").await?;
    assert_eq!(projects.items.iter().map(|project| project.name.as_str()).collect::<Vec<_>>(), ["default"]);

    app.deploy_live(&image(panda, "v1")).await?;
    app.set_env("COLOUR", "blue", false).await?;
    app.set_env("KEY", "swordfish", true).await?;
    let env: Page<EnvVariable> = panda.api().get(&app.path("/env?reveal=true")).await?;
    let shown: Vec<_> =
        env.items.iter().map(|v| (v.key.as_str(), v.value.as_deref(), v.secret, v.deployed)).collect();
    assert_eq!(shown, [("COLOUR", Some("blue"), false, true), ("KEY", None, true, true)]);
    let history: Page<EnvHistoryEntry> = panda.api().get(&app.path("/env/history")).await?;
    assert_eq!(history.items.len(), 2);
    app.answers("/env?name=KEY", "swordfish").await?;

    let task: TaskView =
        panda.api().post(&app.path("/tasks"), &json!({ "command": ["/web", "--help"] })).await?;
    assert_eq!(task.release, 3);
    let deployments: Page<Deployment> = panda.api().get(&app.path("/deployments?limit=2")).await?;
    assert_eq!(deployments.items.len(), 2);
    let cursor = deployments.next_cursor.expect("there is a third");
    let rest: Page<Deployment> =
        panda.api().get(&app.path(&format!("/deployments?limit=2&cursor={cursor}"))).await?;
    assert_eq!(rest.items.len(), 1);
    let status: Status = panda.api().get(&app.path("/status")).await?;
    assert_eq!((status.app.state.as_str(), status.app.release), ("running", Some(3)));
    let events: Page<EventView> = panda.api().get(&app.path("/events")).await?;
    for kind in ["app.created", "env."] {
        assert!(events.items.iter().any(|event| event.kind.starts_with(kind)), "no {kind} in {events:?}");
    }
    let manifest = panda.api().text(&app.path("/manifest")).await?;
    assert!(manifest.contains("shop") && !manifest.contains("swordfish"), "{manifest}");
    Ok(())
}

async fn scoped_tokens(panda: &Installation, app: &App<'_>) -> anyhow::Result<()> {
    let wish = |scope: &str| TokenRequest { name: scope.into(), scope: scope.into(), ttl_days: Some(1) };
    let read: TokenCreated = panda.api().post("/tokens", &wish("read")).await?;
    let reader = panda.api().clone().with_token(&read.secret);
    let _: AppView = reader.get(&app.path("")).await?;
    let made: Result<AppView, _> = reader.post("/apps", &json!({ "name": "other" })).await;
    refused(made, ErrorCode::Forbidden);
    panda.api().delete(&format!("/tokens/{}", read.token.id)).await?;
    let gone: Result<AppView, _> = reader.get(&app.path("")).await;
    refused(gone, ErrorCode::Unauthenticated);
    let tokens: Page<Token> = panda.api().get("/tokens").await?;
    assert!(tokens.items.iter().all(|token| token.id != read.token.id));
    Ok(())
}

/// What was acknowledged is there after a kill -9.
async fn restart(panda: &Installation, app: &App<'_>) -> anyhow::Result<()> {
    let before = app.releases().await?;
    let _: AppView = panda.api().post("/apps", &json!({ "name": "last" })).await?;
    panda.kill9_server();
    panda.start_server().await?;
    let after = app.releases().await?;
    assert_eq!(before.len(), after.len());
    let _: AppView = panda.api().get("/apps/last").await?;
    app.destroy().await
}
