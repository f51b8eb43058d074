//! Routes are pushed when something moved, and left alone otherwise.

use std::time::Duration;

use panda_deployer::runtime::WorkloadKey;
use panda_deployer::runtime::fake::Behaviour;
use panda_domain::ids::DeploymentId;
use panda_domain::port::PortState;

use crate::support::{Rig, settings};

fn pushes(rig: &Rig) -> usize {
    rig.fake.calls().iter().filter(|call| **call == "ensure_routes").count()
}

#[tokio::test]
async fn the_table_is_made_again_when_something_moved_and_once_a_minute() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.deploy_live('1').await;
    rig.turn().await;
    let settled = pushes(&rig);
    for _ in 0..10 {
        rig.turn().await;
    }
    assert_eq!(pushes(&rig), settled, "nothing happened");

    rig.scale("web", 2).await;
    rig.pass(5).await;
    assert!(pushes(&rig) > settled, "an instance became ready");
    assert_eq!(rig.upstreams(), 2);

    let settled = pushes(&rig);
    rig.test.clock.advance(Duration::from_mins(1));
    rig.turn().await;
    rig.turn().await;
    assert_eq!(pushes(&rig), settled + 1, "a whole look, whatever the marks say");
}

/// Gives the app what a manifest wishes, as the API does, and deploys it.
async fn deploy_with_ports(rig: &Rig, digit: char, ports: &str) -> DeploymentId {
    let wishes = panda_domain::manifest::parse(ports).unwrap().ports;
    let mut tx = rig.store().begin().await.unwrap();
    let range = settings().tcp_ports;
    tx.claim_ports(&rig.team.id, &rig.placement, &wishes, &range).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let id = rig.ask(digit, Some(ports)).await;
    rig.pass(12).await;
    id
}

fn published(rig: &Rig) -> Vec<(u16, u16, WorkloadKey)> {
    let ports = rig.fake.route_table().ports.into_iter();
    ports.map(|port| (port.published, port.port, port.target)).collect()
}

async fn held(rig: &Rig) -> Vec<(u16, Option<PortState>)> {
    let rows = rig.store().read().await.unwrap().ports(&rig.team.id, &rig.placement).await.unwrap();
    rows.into_iter().map(|row| (row.held.published, row.observed)).collect()
}

#[tokio::test]
async fn a_port_follows_what_serves_and_is_freed_once_nothing_that_serves_wants_it() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::ready_after(Duration::from_mins(20)));
    let first = deploy_with_ports(&rig, '1', "[[ports]]\nport = 9000").await;
    assert_eq!(published(&rig), [(20_000, 9000, rig.web_of(&first).await)]);
    assert_eq!(held(&rig).await, [(20_000, Some(PortState::Open { host: None }))], "what was told is kept");

    let second = deploy_with_ports(&rig, '2', "[[ports]]\nport = 9001").await;
    assert_eq!(rig.state(&second).await, "rolling");
    assert_eq!(published(&rig), [(20_000, 9000, rig.web_of(&first).await)], "the old one serves");
    assert_eq!(held(&rig).await.len(), 2);
    rig.pass(330).await;
    assert_eq!(rig.state(&second).await, "unhealthy");
    assert_eq!(published(&rig), [(20_000, 9000, rig.web_of(&first).await)]);

    let third = deploy_with_ports(&rig, '1', "[[ports]]\nport = 9002\npublished = 20005").await;
    assert_eq!(published(&rig), [(20_005, 9002, rig.web_of(&third).await)]);
    assert_eq!(held(&rig).await, [(20_005, Some(PortState::Open { host: None }))]);
    deploy_with_ports(&rig, '1', "").await;
    assert_eq!((published(&rig), held(&rig).await), (vec![], vec![]));
}

#[tokio::test]
async fn a_workers_instances_are_not_taken_away_while_a_port_leads_to_them() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    let manifest = "[processes.web]\n[processes.worker]\n[[ports]]\nprocess = \"worker\"\nport = 9000";
    deploy_with_ports(&rig, '1', manifest).await;
    rig.image('2', Behaviour::default());
    let next = deploy_with_ports(&rig, '2', manifest).await;
    assert_eq!(rig.state(&next).await, "live");
    assert_eq!(published(&rig)[0].2.release, rig.deployment(&next).await.release.unwrap());
    assert_eq!(rig.fake.removed_while_routed(), []);
}
