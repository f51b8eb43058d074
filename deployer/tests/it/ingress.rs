//! An ingress that is away, or takes routes and can't say so: nothing that it may send requests to is taken away, and every
//! deployment ends.

use panda_deployer::runtime::fake::{Behaviour, Ingress};
use panda_domain::failure::FailureCode;

use crate::support::Rig;

async fn rolled_without_an_answer(ingress: Ingress) -> (Rig, panda_domain::ids::DeploymentId) {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::default());
    rig.image('3', Behaviour::default());
    let good = rig.deploy_live('1').await;
    rig.fake.set_ingress(ingress);
    let next = rig.ask('2', None).await;
    rig.pass(30).await;
    assert_eq!((rig.state(&good).await, rig.state(&next).await), ("live", "rolling"));
    assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 2), "both may be asked");
    (rig, next)
}

#[tokio::test]
async fn a_rollout_whose_routes_are_never_confirmed_ends_and_what_was_live_serves_again() {
    for ingress in [Ingress::Away, Ingress::Mute] {
        let (rig, next) = rolled_without_an_answer(ingress).await;
        let old = rig.deployments().await[0].id.clone();
        rig.pass(310).await;
        let ended = rig.deployment(&next).await;
        let failure = ended.state.failure().unwrap_or_else(|| panic!("still {:?}", ended.state));
        assert_eq!((ended.state.word(), failure.code), ("timed_out", FailureCode::P503));
        assert!(failure.cause.contains("didn't confirm the new routes"), "{}", failure.cause);
        let row = rig.row().await.placement;
        let release = rig.deployment(&old).await.release;
        assert_eq!((&row.last_good_release, &row.desired_release), (&release, &release));
        assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 2), "nobody knows where requests go");

        rig.fake.set_ingress(Ingress::Well);
        rig.pass(20).await;
        assert_eq!(rig.routed(), [rig.web_of(&old).await]);
        assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 1));
        assert_eq!((rig.state(&old).await, rig.row().await.placement.converged()), ("live", true));
        assert_eq!(rig.fake.removed_while_routed(), []);
    }
}

#[tokio::test]
async fn a_rollout_goes_live_when_the_ingress_is_back_in_time() {
    for ingress in [Ingress::Away, Ingress::Mute] {
        let (rig, next) = rolled_without_an_answer(ingress).await;
        rig.fake.set_ingress(Ingress::Well);
        rig.pass(12).await;
        assert_eq!((rig.state(&next).await, rig.routed()), ("live", vec![rig.web_of(&next).await]));
        assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 1));
        assert_eq!(rig.fake.removed_while_routed(), []);
    }
}

#[tokio::test]
async fn a_newer_deploy_takes_over_from_one_whose_routes_nobody_saw_arrive() {
    for ingress in [Ingress::Away, Ingress::Mute] {
        let (rig, next) = rolled_without_an_answer(ingress).await;
        let newest = rig.ask('3', None).await;
        rig.pass(5).await;
        assert_eq!((rig.state(&next).await, rig.state(&newest).await), ("canceled", "rolling"));
        assert_eq!(rig.upstreams(), 1);
        rig.fake.set_ingress(Ingress::Well);
        rig.pass(12).await;
        assert_eq!((rig.state(&newest).await, rig.routed()), ("live", vec![rig.web_of(&newest).await]));
        assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 1));
        assert_eq!(rig.fake.removed_while_routed(), []);
    }
}

#[tokio::test]
async fn a_first_rollout_whose_routes_are_never_confirmed_leaves_nothing() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.fake.set_ingress(Ingress::Mute);
    let first = rig.ask('1', None).await;
    rig.pass(340).await;
    assert_eq!(rig.state(&first).await, "timed_out");
    assert_eq!(rig.row().await.placement.last_good_release, None);
    rig.fake.set_ingress(Ingress::Well);
    rig.pass(20).await;
    assert_eq!((rig.routed().len(), rig.runs().await.len()), (0, 0));
    assert!(rig.row().await.placement.converged());
}

#[tokio::test]
async fn what_a_restart_replaced_serves_again_when_the_routes_are_never_confirmed() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.deploy_live('1').await;
    rig.restart().await.unwrap();
    rig.pass(12).await;
    assert_eq!(rig.routed()[0].revision, 1);
    rig.fake.set_ingress(Ingress::Away);
    let again = rig.restart().await.unwrap();
    rig.pass(340).await;
    assert_eq!((rig.state(&again).await, rig.row().await.last_good_revision), ("timed_out", 1));
    rig.fake.set_ingress(Ingress::Well);
    rig.pass(20).await;
    assert_eq!((rig.routed()[0].revision, rig.upstreams(), rig.runs().await.len()), (1, 1, 1));
}
