//! Certificates that people gave: nothing is ordered in their place, their end is told, and the ordering takes over after them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use panda_deployer::certificates::{
    CertificateSettings, Certificates, OrderedCertificates, Preflight, first_warning,
};
use panda_deployer::dns::DnsLookup;
use panda_deployer::routes::RoutePublisher;
use panda_deployer::runtime::fake::Behaviour;
use panda_deployer::runtime::{OrderedCertificate, Runtime};
use panda_domain::route::CertificateState;
use panda_domain::secret::Secret;
use panda_edge::local_ca::LocalCa;
use panda_jobs::Reconciler;
use panda_store::{CertificateRow, NewDomain};
use panda_test_support::dns::TestDns;

use crate::support::{Rig, settings};

const HOST: &str = "www.shop.example";
const OTHER: &str = "api.shop.example";
const DAY: Duration = Duration::from_hours(24);

struct Shop {
    rig: Rig,
    certificates: Box<dyn Reconciler>,
    _keys: tempfile::TempDir,
    _dns: TestDns,
}

impl Shop {
    /// A live app with two proven domains. `orders`: on a runtime that orders by itself.
    async fn open(orders: bool) -> Self {
        let rig = Rig::new().await;
        rig.image('1', Behaviour::default());
        rig.deploy_live('1').await;
        let mut tx = rig.store().begin().await.unwrap();
        for host in [HOST, OTHER] {
            let new = NewDomain {
                team: rig.team.id.clone(),
                placement: rig.placement.clone(),
                host: host.parse().unwrap(),
                path: "/".to_owned(),
                proof_token: "proof".to_owned(),
            };
            let domain = tx.insert_domain(&new).await.unwrap();
            tx.mark_verified(&rig.team.id, &domain.id).await.unwrap();
        }
        tx.commit().await.unwrap();
        let (keys, dns) = (tempfile::tempdir().unwrap(), TestDns::start().await);
        let now = std::time::SystemTime::from(rig.test.clock.now());
        let (key, pem) = (keys.path().join("ca.key"), keys.path().join("ca.crt"));
        let ca = LocalCa::load_or_create(&key, &pem, "test", now).unwrap();
        let runtime: Arc<dyn Runtime> = Arc::new(rig.fake.clone());
        let publisher = Arc::new(RoutePublisher::new(rig.store().clone(), runtime.clone(), settings()));
        let (store, none) = (rig.store().clone(), CertificateSettings::default());
        let certificates: Box<dyn Reconciler> = if orders {
            rig.fake.order_certificates(Vec::new());
            let lookup = DnsLookup::at(dns.address()).unwrap();
            let preflight = Preflight::new(lookup, Vec::new(), &none).without_http();
            Box::new(OrderedCertificates::new(store, runtime, publisher, ca, preflight))
        } else {
            Box::new(Certificates::new(store, publisher, ca, none, "panda.localhost".to_owned()))
        };
        Self { rig, certificates, _keys: keys, _dns: dns }
    }

    /// Gives a wildcard for both domains, as the API does.
    async fn give(&self, end: Timestamp) {
        let mut tx = self.rig.store().begin().await.unwrap();
        for host in [HOST, OTHER] {
            tx.upsert_certificate(&CertificateRow {
                host: host.to_owned(),
                state: CertificateState::Own {
                    not_after: end.as_second(),
                    name: "*.shop.example".to_owned(),
                },
                chain_pem: Some("given chain".to_owned()),
                key: Some(Secret::new("given key")),
                not_after: Some(end),
                attempts: 0,
                next_attempt_at: first_warning(end),
                challenge: None,
            })
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
    }

    fn in_days(&self, days: i64) -> Timestamp {
        self.rig.test.clock.now() + SignedDuration::from_hours(24 * days)
    }

    async fn turn(&self) {
        let outcome = self.certificates.activate().await;
        assert!(!matches!(outcome, panda_jobs::Outcome::Failed { .. }), "{outcome:?}");
        self.rig.turn().await;
    }

    async fn row(&self) -> Option<CertificateRow> {
        self.rig.store().read().await.unwrap().certificate(HOST).await.unwrap()
    }

    async fn is_own(&self) -> bool {
        let served = self.rig.fake.route_table().certificates.into_iter().find(|one| one.hosts == [HOST]);
        let row = self.row().await.unwrap();
        matches!(row.state, CertificateState::Own { .. })
            && served.is_some_and(|one| one.chain_pem == "given chain" && one.key_pem.reveal() == "given key")
    }

    async fn warnings(&self) -> Vec<String> {
        let mut tx = self.rig.store().read().await.unwrap();
        let all = tx.events_after(&self.rig.team.id, None, 0, 100).await.unwrap();
        all.into_iter()
            .filter(|event| event.kind == "certificate.ends_soon")
            .map(|event| event.text)
            .collect()
    }
}

#[tokio::test]
async fn nothing_is_ordered_in_its_place_not_even_after_its_end() {
    for orders in [false, true] {
        let shop = Shop::open(orders).await;
        shop.turn().await;
        shop.give(shop.in_days(40)).await;
        if orders {
            // What the runtime ordered before may still be seen for a while.
            let state = CertificateState::Failed { reason: "wrong answer".to_owned() };
            let seen = OrderedCertificate { host: HOST.to_owned(), state, renewal_at: None };
            shop.rig.fake.order_certificates(vec![seen]);
        }
        shop.turn().await;
        assert!(shop.is_own().await, "orders: {orders}");
        assert!(!shop.rig.fake.route_table().orders.contains(HOST), "orders: {orders}");
        shop.rig.test.clock.advance(DAY * 50);
        shop.turn().await;
        assert!(shop.is_own().await, "orders: {orders}");
    }
}

#[tokio::test]
async fn an_order_that_was_under_way_does_not_replace_it() {
    let shop = Shop::open(false).await;
    shop.turn().await;
    let ordered = shop.row().await.unwrap();
    shop.give(shop.in_days(40)).await;
    let mut tx = shop.rig.store().begin().await.unwrap();
    tx.put_challenge(HOST, "token", "answer").await.unwrap();
    tx.fail_certificate(HOST, "wrong answer", 1, shop.in_days(0)).await.unwrap();
    tx.upsert_certificate(&ordered).await.unwrap();
    tx.commit().await.unwrap();
    shop.turn().await;
    assert!(shop.is_own().await && shop.row().await.unwrap().challenge.is_none());
}

#[tokio::test]
async fn its_owner_is_warned_a_month_and_a_week_before_the_end_once_each() {
    for orders in [false, true] {
        let shop = Shop::open(orders).await;
        shop.give(shop.in_days(40)).await;
        for (pass, wanted) in
            [(Duration::ZERO, 0), (DAY * 9, 0), (DAY, 1), (DAY, 1), (DAY * 22, 2), (DAY * 20, 2)]
        {
            shop.rig.test.clock.advance(pass);
            shop.turn().await;
            shop.turn().await;
            let said = shop.warnings().await;
            assert_eq!(said.len(), wanted, "orders: {orders}, after {pass:?} more: {said:?}");
        }
        let said = shop.warnings().await;
        assert!(said.iter().any(|text| text.contains("`*.shop.example` ends in 30 days")), "{said:?}");
        assert!(said.iter().any(|text| text.contains("ends in 7 days")), "{said:?}");

        shop.give(shop.in_days(3)).await;
        shop.turn().await;
        shop.turn().await;
        assert_eq!(shop.warnings().await.len(), 3, "one that comes late is told of at once");
    }
}

#[tokio::test]
async fn when_it_is_removed_the_ordering_takes_over_at_once() {
    for orders in [false, true] {
        let shop = Shop::open(orders).await;
        shop.give(shop.in_days(40)).await;
        shop.turn().await;
        assert!(shop.is_own().await);
        let mut tx = shop.rig.store().begin().await.unwrap();
        assert!(tx.delete_own_certificate(HOST).await.unwrap());
        tx.commit().await.unwrap();
        shop.turn().await;
        let wanted = if orders { CertificateState::Ordering } else { CertificateState::Local };
        assert_eq!(shop.row().await.map(|row| row.state), Some(wanted));
        assert_eq!(shop.rig.fake.route_table().orders.contains(HOST), orders);
    }
}
