//! Routes are pushed when something moved, and left alone otherwise.

use std::time::Duration;

use panda_deployer::runtime::fake::Behaviour;

use crate::support::Rig;

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
