//! Processes whose number of instances follows their load.

use std::time::Duration;

use panda_deployer::runtime::WorkloadKey;
use panda_deployer::runtime::fake::Behaviour;
use panda_domain::autoscale::Autoscale;
use panda_domain::formation::Scale;
use panda_domain::names::ProcessName;

use crate::support::Rig;

const BOUNDS: Autoscale = Autoscale { min: 2, max: 10, cpu_percent: Some(70), memory_percent: None };

/// Sets the bounds of web, as the API does.
async fn bound(rig: &Rig, autoscale: Option<Autoscale>, replicas: u32) {
    let mut tx = rig.store().begin().await.unwrap();
    let scale = Scale { replicas, autoscale, ..Scale::default() };
    tx.set_scale(&rig.placement, &ProcessName::web(), &scale).await.unwrap();
    tx.bump_generation(&rig.placement).await.unwrap();
    tx.commit().await.unwrap();
}

/// The fewest instances that a workload's autoscaler may go down to now.
fn fewest(rig: &Rig, key: &WorkloadKey) -> u32 {
    rig.fake.spec_of(key).expect("it runs").autoscale.expect("it has bounds").min
}

#[tokio::test]
async fn a_new_release_starts_with_as_many_as_the_old_one_runs_and_isnt_shrunk_while_it_rolls() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::ready_after(Duration::from_secs(20)));
    bound(&rig, Some(BOUNDS), 1).await;
    let old = rig.web_of(&rig.deploy_live('1').await).await;
    assert_eq!((rig.upstreams(), fewest(&rig, &old)), (2, 2));
    rig.fake.load(&old, 6);
    rig.pass(2).await;
    assert_eq!(rig.upstreams(), 6);

    let second = rig.ask('2', None).await;
    rig.pass(3).await;
    let new = rig.web_of(&second).await;
    assert_eq!((rig.runs().await.len(), fewest(&rig, &new)), (2, 6));
    // Nobody asks anything of it yet, so that its autoscaler would go down.
    rig.fake.load(&new, 1);
    // Meanwhile the old one has more to do.
    rig.fake.load(&old, 8);
    for _ in 0..60 {
        rig.turn().await;
        assert!(rig.upstreams() >= 6, "{} upstreams", rig.upstreams());
        rig.test.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(rig.state(&second).await, "live");
    assert_eq!((rig.routed(), rig.upstreams(), fewest(&rig, &new)), (vec![new.clone()], 8, 2));
    // Now its load is its own.
    rig.fake.load(&new, 3);
    rig.pass(60).await;
    assert_eq!(rig.upstreams(), 3, "nobody puts the old number back");
    assert!(rig.row().await.placement.converged());
}

#[tokio::test]
async fn a_rollback_drops_neither_the_bounds_nor_the_number() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::default());
    rig.deploy_live('1').await;
    bound(&rig, Some(BOUNDS), 1).await;
    let second = rig.deploy_live('2').await;
    rig.fake.load(&rig.web_of(&second).await, 5);
    rig.pass(2).await;
    let back = rig.roll_back().await.unwrap();
    rig.pass(20).await;
    assert_eq!((rig.state(&back).await, rig.upstreams()), ("live", 5));
    assert_eq!(fewest(&rig, &rig.web_of(&back).await), 2);
}

#[tokio::test]
async fn bounds_take_over_from_a_fixed_number_and_hand_back_without_a_jump() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.scale("web", 4).await;
    let web = rig.web_of(&rig.deploy_live('1').await).await;
    let before = rig.runs().await;
    bound(&rig, Some(BOUNDS), 4).await;
    rig.pass(3).await;
    let told = rig.runs().await;
    assert_eq!((told[0].wanted, &told[0].instances), (Some(4), &before[0].instances));
    bound(&rig, Some(Autoscale { max: 3, ..BOUNDS }), 4).await;
    rig.pass(20).await;
    assert_eq!((rig.runs().await[0].wanted, rig.upstreams()), (Some(3), 3), "{:?}", rig.fake.spec_of(&web));
    bound(&rig, None, 3).await;
    rig.pass(3).await;
    assert_eq!((rig.runs().await[0].wanted, rig.upstreams()), (None, 3));
}

#[tokio::test]
async fn without_an_autoscaler_the_number_is_as_it_was_wished() {
    let rig = Rig::new().await;
    rig.fake.without_autoscale();
    rig.image('1', Behaviour::default());
    bound(&rig, Some(BOUNDS), 1).await;
    let web = rig.web_of(&rig.deploy_live('1').await).await;
    assert_eq!((rig.upstreams(), rig.fake.spec_of(&web).unwrap().autoscale), (1, None));
}
