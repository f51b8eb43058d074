//! Certificates that people gave: only they replace one, and it goes with its domain.

use std::time::Duration;

use jiff::Timestamp;
use panda_domain::route::CertificateState;
use panda_domain::secret::Secret;
use panda_store::{CertificateRow, DomainRow, NewDomain, Tx};

use crate::support::{World, begin, name, on_each, world};

const HOST: &str = "www.example.com";

fn row(state: CertificateState, end: Timestamp, warn_at: Timestamp) -> CertificateRow {
    CertificateRow {
        host: HOST.to_owned(),
        state,
        chain_pem: Some("chain".to_owned()),
        key: Some(Secret::new("-----BEGIN")),
        not_after: Some(end),
        attempts: 0,
        next_attempt_at: warn_at,
        challenge: None,
    }
}

fn given(end: Timestamp, warn_at: Timestamp) -> CertificateRow {
    row(CertificateState::Own { not_after: end.as_second(), name: HOST.to_owned() }, end, warn_at)
}

async fn domain(tx: &mut Tx, world: &World, path: &str) -> DomainRow {
    let new = NewDomain {
        team: world.team.id.clone(),
        placement: world.placement.clone(),
        host: name(HOST),
        path: path.to_owned(),
        proof_token: "proof".to_owned(),
    };
    tx.insert_domain(&new).await.unwrap()
}

#[tokio::test]
async fn no_order_replaces_one_and_none_is_due() {
    on_each(async |test| {
        let ours = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let (now, day) = (test.clock.now(), Duration::from_hours(24));
        let proven = domain(&mut tx, &ours, "/").await;
        tx.mark_verified(&ours.team.id, &proven.id).await.unwrap();
        tx.upsert_certificate(&row(CertificateState::Local, now + day, now)).await.unwrap();
        let own = given(now + day * 3, now + day);
        tx.upsert_certificate(&own).await.unwrap();

        tx.put_challenge(HOST, "token", "answer").await.unwrap();
        tx.fail_certificate(HOST, "refused", 1, now).await.unwrap();
        let issued = CertificateState::Issued { not_after: (now + day * 90).as_second() };
        tx.upsert_certificate(&row(issued, now + day * 90, now)).await.unwrap();
        assert_eq!(tx.certificate(HOST).await.unwrap().as_ref(), Some(&own));

        assert_eq!(tx.ending_own_certificates().await.unwrap(), []);
        test.clock.advance(day * 9);
        let later = test.clock.now() + day * 60;
        assert!(
            !tx.hosts_without_certificate(later).await.unwrap().contains(&HOST.to_owned()),
            "not even ended"
        );
        assert!(tx.due_certificates(later).await.unwrap().is_empty());
        assert_eq!(tx.ending_own_certificates().await.unwrap(), [(HOST.to_owned(), own.state.clone())]);
        tx.warn_again_at(HOST, later).await.unwrap();
        assert_eq!(tx.ending_own_certificates().await.unwrap(), []);

        let next = given(now + day * 400, now + day * 370);
        tx.upsert_certificate(&next).await.unwrap();
        assert_eq!(tx.certificate(HOST).await.unwrap(), Some(next));
        assert!(
            tx.delete_own_certificate(HOST).await.unwrap() && !tx.delete_own_certificate(HOST).await.unwrap()
        );
        assert!(tx.hosts_without_certificate(later).await.unwrap().contains(&HOST.to_owned()), "at once");
    })
    .await;
}

#[tokio::test]
async fn it_goes_with_the_last_domain_of_its_host_and_never_to_another_team() {
    on_each(async |test| {
        let (ours, theirs) = (world(&test.store, "acme").await, world(&test.store, "other").await);
        let mut tx = begin(test).await;
        let (now, day) = (test.clock.now(), Duration::from_hours(24));
        let own = given(now + day, now);
        let (root, blog) = (domain(&mut tx, &ours, "/").await, domain(&mut tx, &ours, "/blog").await);
        let other = domain(&mut tx, &theirs, "/").await;
        tx.mark_verified(&ours.team.id, &root.id).await.unwrap();
        tx.upsert_certificate(&own).await.unwrap();
        tx.mark_verified(&ours.team.id, &blog.id).await.unwrap();
        assert!(tx.delete_domain(&ours.team.id, &root.id).await.unwrap());
        assert!(tx.certificate(HOST).await.unwrap().is_some(), "it serves the other path");
        assert!(tx.delete_domain(&ours.team.id, &blog.id).await.unwrap());
        assert!(tx.certificate(HOST).await.unwrap().is_none());

        // As after an app that was destroyed, whose certificates are kept for a while.
        tx.upsert_certificate(&own).await.unwrap();
        tx.mark_verified(&theirs.team.id, &other.id).await.unwrap();
        assert!(tx.certificate(HOST).await.unwrap().is_none(), "the next owner doesn't get it");
    })
    .await;
}
