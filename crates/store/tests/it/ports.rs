//! Published TCP ports: whose they are, how long, and what happens when two want the same.

use panda_domain::port::{PortState, TcpPort};
use panda_store::{PortRefusal, PortRow, Tx};

use crate::support::{World, begin, name, on_each, world};

fn wish(port: u16, published: Option<u16>) -> TcpPort {
    TcpPort { process: name("web"), port, published }
}

async fn claim(tx: &mut Tx, world: &World, wishes: &[TcpPort]) -> Result<(), PortRefusal> {
    let range = name("20000-20002");
    tx.claim_ports(&world.team.id, &world.placement, wishes, &range).await.unwrap()
}

async fn held(tx: &mut Tx, world: &World) -> Vec<(u16, u16)> {
    let rows = tx.ports(&world.team.id, &world.placement).await.unwrap();
    let pair = |row: &PortRow| (row.held.published, row.held.port);
    rows.iter().map(pair).collect()
}

#[tokio::test]
async fn a_port_is_given_once_and_kept_until_what_serves_wants_it_no_more() {
    on_each(async |test| {
        let ours = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        assert_eq!(claim(&mut tx, &ours, &[wish(9000, None)]).await, Ok(()));
        assert_eq!(claim(&mut tx, &ours, &[wish(9000, None)]).await, Ok(()), "twice is once");
        assert_eq!(held(&mut tx, &ours).await, [(20_000, 9000)]);
        // The next deploy wants another one: both are there until one of the two serves.
        let next = [wish(9001, Some(20_002))];
        assert_eq!(claim(&mut tx, &ours, &next).await, Ok(()));
        assert_eq!(held(&mut tx, &ours).await.len(), 2);
        tx.settle_ports(&ours.placement, &[wish(9000, None)]).await.unwrap();
        assert_eq!(held(&mut tx, &ours).await, [(20_000, 9000)]);
        tx.settle_ports(&ours.placement, &[]).await.unwrap();
        assert_eq!(held(&mut tx, &ours).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_port_of_another_app_is_refused_and_free_again_when_that_app_goes() {
    on_each(async |test| {
        let (ours, theirs) = (world(&test.store, "acme").await, world(&test.store, "zeta").await);
        let mut tx = begin(test).await;
        assert_eq!(claim(&mut tx, &theirs, &[wish(9000, Some(20_001))]).await, Ok(()));
        tx.commit().await.unwrap();
        let mut tx = begin(test).await;
        let clash = claim(&mut tx, &ours, &[wish(9000, Some(20_001))]).await;
        assert_eq!(clash, Err(PortRefusal::Taken(20_001)));
        drop(tx);
        let mut tx = begin(test).await;
        assert_eq!(claim(&mut tx, &ours, &[wish(1, None), wish(2, None)]).await, Ok(()));
        assert_eq!(held(&mut tx, &ours).await, [(20_000, 1), (20_002, 2)], "theirs is left out");
        let more = [wish(1, None), wish(2, None), wish(3, None)];
        assert_eq!(claim(&mut tx, &ours, &more).await, Err(PortRefusal::AllTaken));
        assert!(
            tx.ports(&theirs.team.id, &ours.placement).await.unwrap().is_empty(),
            "a foreign team sees none"
        );
        tx.delete_app_rows(&theirs.team.id, &theirs.app.id).await.unwrap();
        assert_eq!(claim(&mut tx, &ours, &[wish(9000, Some(20_001))]).await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn of_two_that_take_the_same_port_at_the_same_time_one_is_refused() {
    on_each(async |test| {
        let (ours, theirs) = (world(&test.store, "acme").await, world(&test.store, "zeta").await);
        let take = async |world: &World| {
            let mut tx = begin(test).await;
            let got = claim(&mut tx, world, &[wish(9000, Some(20_001))]).await;
            if got.is_ok() {
                tx.commit().await.unwrap();
            }
            got
        };
        let (one, other) = tokio::join!(take(&ours), take(&theirs));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    })
    .await;
}

#[tokio::test]
async fn what_the_runtime_told_of_a_port_is_kept() {
    on_each(async |test| {
        let ours = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        claim(&mut tx, &ours, &[wish(9000, None)]).await.unwrap();
        let state = PortState::Failed { reason: "held by nginx".to_owned() };
        tx.note_port(20_000, &state).await.unwrap();
        let all = tx.all_ports().await.unwrap();
        assert_eq!(all[&ours.placement][0].observed.as_ref(), Some(&state));
    })
    .await;
}
