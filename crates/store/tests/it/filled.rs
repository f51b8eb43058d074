//! A store that has rows in every table, and what its public functions say about them.

use std::collections::BTreeSet;
use std::time::Duration;

use panda_domain::deployment::DeploymentState;
use panda_domain::env::{EnvChange, EnvValue};
use panda_domain::formation::Scale;
use panda_domain::job::JobPayload;
use panda_domain::port::{PortRange, PortState, TcpPort};
use panda_domain::route::CertificateState;
use panda_domain::secret::Secret;
use panda_domain::team::Scope;
use panda_store::testing::TestStore;
use panda_store::{
    BuildRow, CertificateRow, Cursor, NewDeviceCode, NewDomain, NewEvent, NewSession, NewTask, NewToken,
    Store, Tx,
};
use serde_json::json;

use crate::kept::{build, release};
use crate::support::{World, name, new_deployment, world};

const HOUR: Duration = Duration::from_hours(1);

/// What was written, to be read again.
pub(crate) struct Filled {
    pub(crate) world: World,
    build: BuildRow,
}

/// Writes something into every table. A new table gets a line here: the copy's test counts its rows.
pub(crate) async fn fill(test: &TestStore) -> Filled {
    let world = world(&test.store, "acme").await;
    let mut tx = test.store.begin().await.unwrap();
    identities(test, &mut tx, &world).await;
    settings_of_the_app(test, &mut tx, &world).await;
    let build = work(test, &mut tx, &world).await;
    tx.commit().await.unwrap();
    Filled { world, build }
}

async fn identities(test: &TestStore, tx: &mut Tx, world: &World) {
    tx.put_claim("claim-hash").await.unwrap();
    let expires_at = test.clock.now() + HOUR;
    let token = NewToken {
        team: world.team.id.clone(),
        user: world.user.id.clone(),
        name: name("ci"),
        scope: Scope::Full,
        secret_hash: "token-hash".to_owned(),
        expires_at,
    };
    tx.insert_token(&token).await.unwrap();
    let session = NewSession {
        user: world.user.id.clone(),
        team: world.team.id.clone(),
        secret_hash: "session-hash".to_owned(),
        user_agent: "browser \u{1F43C}".to_owned(),
        expires_at,
    };
    tx.insert_session(&session).await.unwrap();
    let device = NewDeviceCode {
        device_hash: "device-hash".to_owned(),
        user_code: "CODE".to_owned(),
        client_name: String::new(),
        expires_at,
    };
    tx.insert_device_code(&device).await.unwrap();
}

async fn settings_of_the_app(test: &TestStore, tx: &mut Tx, world: &World) {
    let (team, placement) = (&world.team.id, &world.placement);
    // Kept sealed, and told apart by one bit.
    for (key, secret) in [("PLAIN", false), ("KEY", true)] {
        let value = EnvValue { value: Secret::new("s3cret\n\u{fc}"), secret };
        let changes = [(name(key), EnvChange::Set(value))].into();
        tx.change_env(team, placement, &changes, &world.actor).await.unwrap();
    }
    tx.change_env(team, placement, &[(name("PLAIN"), EnvChange::Unset)].into(), &world.actor).await.unwrap();
    tx.set_scale(placement, &name("web"), &Scale::default()).await.unwrap();
    let wish = TcpPort { process: name("web"), port: 9000, published: Some(20_000) };
    tx.claim_ports(team, placement, &[wish], &PortRange::default()).await.unwrap().unwrap();
    tx.note_port(20_000, &PortState::Open { host: None }).await.unwrap();
    for (n, host) in ["a.example.com", "b.example.com"].into_iter().enumerate() {
        let new = NewDomain {
            team: team.clone(),
            placement: placement.clone(),
            host: name(host),
            path: "/".to_owned(),
            proof_token: "proof".to_owned(),
        };
        let domain = tx.insert_domain(&new).await.unwrap();
        if n == 0 {
            tx.mark_verified(team, &domain.id).await.unwrap();
        }
        let certificate = CertificateRow {
            host: host.to_owned(),
            state: CertificateState::Pending,
            chain_pem: None,
            key: (n == 0).then(|| Secret::new("private")),
            not_after: None,
            attempts: 0,
            next_attempt_at: test.clock.now(),
            challenge: None,
        };
        tx.upsert_certificate(&certificate).await.unwrap();
    }
}

async fn work(test: &TestStore, tx: &mut Tx, world: &World) -> BuildRow {
    let (team, placement) = (&world.team.id, &world.placement);
    tx.add_blob(team, &"ab".repeat(32), 7).await.unwrap();
    tx.add_tree(team, "sha256:aa", 7, 1).await.unwrap();
    let (kept, old) = (build(test, tx, world, 1).await, build(test, tx, world, 2).await);
    let made = release(tx, world, &kept).await;
    let before = test.clock.now() + HOUR;
    assert!(tx.delete_unneeded_build(&old, 20, before).await.unwrap(), "its image is doomed by that");
    let new = new_deployment(team, placement, &world.actor);
    let queued = tx.insert_deployment(&new).await.unwrap();
    tx.attach_release(&queued.id, &made.id).await.unwrap();
    tx.advance_deployment(&queued, DeploymentState::Releasing).await.unwrap();
    tx.set_desired(placement, &made.id, 0).await.unwrap();
    for n in 0..3 {
        tx.add_progress(&queued.id, "log", &json!({ "n": n })).await.unwrap();
        let event = NewEvent {
            team: Some(team.clone()),
            app: (n == 0).then(|| world.app.id.clone()),
            kind: "test",
            actor: &world.actor,
            text: "\u{fc}n\u{ef}\ncode".to_owned(),
            data: json!({ "a": [1, null] }),
        };
        tx.add_event(&event).await.unwrap();
    }
    let task = NewTask {
        team: team.clone(),
        placement: placement.clone(),
        release: made.id,
        command: vec!["true".to_owned()],
        tty: false,
        timeout_s: 60,
        actor: world.actor.clone(),
    };
    tx.insert_task(&task).await.unwrap();
    let payload = JobPayload::Build { team: team.clone(), deployment: queued.id };
    tx.enqueue(&payload, "key", test.clock.now()).await.unwrap();
    let job = tx.claim_job("a", &["build"], HOUR).await.unwrap().unwrap();
    assert!(tx.save_output(&job, "fetch", &json!({ "n": 1 })).await.unwrap());
    kept
}

/// Returns what the store says about what [`fill`] wrote, secrets opened.
pub(crate) async fn said(store: &Store, filled: &Filled) -> Vec<String> {
    let (world, mut tx) = (&filled.world, store.read().await.unwrap());
    let (team, placement, all) = (&world.team.id, &world.placement, Cursor::default());
    let mut said = vec![
        format!("{:?}", store.installation().await.unwrap()),
        format!("{:?}", tx.claim().await.unwrap()),
        format!("{:?}", tx.user(&world.user.id).await.unwrap()),
        format!("{:?}", tx.token_principal("token-hash").await.unwrap()),
        format!("{:?}", tx.session_principal("session-hash").await.unwrap()),
        format!("{:?}", tx.device_by_hash("device-hash").await.unwrap()),
        format!("{:?}", tx.apps(team, &all).await.unwrap()),
        format!("{:?}", tx.placement_by_id(placement).await.unwrap()),
        format!("{:?}", tx.formation(placement).await.unwrap()),
        format!("{:?}", tx.domains(team, placement).await.unwrap()),
        format!("{:?}", tx.ports(team, placement).await.unwrap()),
        format!("{:?}", tx.trees_of(team).await.unwrap()),
        format!("{:?}", tx.known_blobs(&["ab".repeat(32)]).await.unwrap()),
        format!("{:?}", tx.build(team, &filled.build.id).await.unwrap()),
        format!("{:?}", tx.releases(team, placement, &all).await.unwrap()),
        format!("{:?}", tx.deployments(team, placement, &all).await.unwrap()),
        format!("{:?}", tx.tasks(team, placement, &all).await.unwrap()),
        format!("{:?}", tx.events_after(team, None, 0, 10).await.unwrap()),
        format!("{:?}", tx.has_doomed_images().await.unwrap()),
    ];
    let deployment = tx.newest_deployment(placement).await.unwrap().unwrap();
    said.push(format!("{:?}", tx.progress_after(&deployment.id, 0, 10).await.unwrap()));
    for version in 1..=3 {
        let env = tx.env_at(team, placement, version).await.unwrap();
        said.extend(env.iter().map(|(key, row)| format!("{version} {key} {} {row:?}", row.value.reveal())));
    }
    for row in tx.all_certificates().await.unwrap() {
        said.push(format!("{row:?} {:?}", row.key.as_ref().map(Secret::reveal)));
    }
    let tables: BTreeSet<&String> = said.iter().collect();
    assert_eq!(tables.len(), said.len(), "two of them would hide each other");
    said
}
