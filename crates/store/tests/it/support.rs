//! What the tests share: both databases, and rows to begin with.

use std::fmt::Debug;
use std::str::FromStr;

use panda_domain::app::App;
use panda_domain::deployment::Trigger;
use panda_domain::event::Actor;
use panda_domain::ids::{PlacementId, TeamId};
use panda_domain::source::Source;
use panda_domain::team::Role;
use panda_store::testing::TestStore;
use panda_store::{Environment, NewDeployment, NewUser, Project, Store, Team, Tx, User};

/// Runs `test` with a fresh store on each database.
pub(crate) async fn on_each(test: impl AsyncFn(&TestStore)) {
    for store in TestStore::each().await {
        test(&store).await;
    }
}

/// Parses a name.
pub(crate) fn name<T>(text: &str) -> T
where
    T: FromStr,
    T::Err: Debug,
{
    text.parse().unwrap()
}

/// A team with its owner, a project, production, an app and its place.
pub(crate) struct World {
    pub(crate) user: User,
    pub(crate) team: Team,
    pub(crate) project: Project,
    pub(crate) production: Environment,
    pub(crate) app: App,
    pub(crate) placement: PlacementId,
    pub(crate) actor: Actor,
}

/// Makes a world whose names begin with `word`, and commits it.
pub(crate) async fn world(store: &Store, word: &str) -> World {
    let mut tx = store.begin().await.unwrap();
    let email = name(&format!("{word}@example.com"));
    let user = tx.insert_user(&NewUser { email, password_hash: "hash".to_owned() }).await.unwrap();
    let team = tx.insert_team(&name(word)).await.unwrap();
    tx.add_member(&team.id, &user.id, Role::Owner).await.unwrap();
    let project = tx.ensure_project(&team.id, &name("default")).await.unwrap();
    let production = tx.ensure_environment(&team.id, &project.id, &name("production")).await.unwrap();
    let app = tx.insert_app(&team.id, &project.id, &name("shop")).await.unwrap();
    let host = format!("{word}.localhost");
    let placement = tx.insert_placement(&app, &production, &host).await.unwrap().id;
    tx.commit().await.unwrap();
    let actor = Actor::User { id: user.id.clone(), email: user.email.to_string() };
    World { user, team, project, production, app, placement, actor }
}

/// A deployment of an uploaded directory.
pub(crate) fn new_deployment(team: &TeamId, placement: &PlacementId, actor: &Actor) -> NewDeployment {
    NewDeployment {
        team: team.clone(),
        placement: placement.clone(),
        trigger: Trigger::Deploy,
        source: Source::Upload { tree: "sha256:aa".to_owned(), git_sha: None },
        request_json: "{}".to_owned(),
        env_version: 0,
        revision: 0,
        idempotency_key: None,
        actor: actor.clone(),
    }
}

/// Begins to write.
pub(crate) async fn begin(test: &TestStore) -> Tx {
    test.store.begin().await.unwrap()
}

/// Begins to read.
pub(crate) async fn read(test: &TestStore) -> Tx {
    test.store.read().await.unwrap()
}
