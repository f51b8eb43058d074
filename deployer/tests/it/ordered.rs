//! Certificates that the runtime orders by itself: ordered after a look, told as observed, and an alarm when none is renewed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use panda_deployer::certificates::{CertificateSettings, OrderedCertificates, Preflight};
use panda_deployer::dns::DnsLookup;
use panda_deployer::routes::RoutePublisher;
use panda_deployer::runtime::fake::Behaviour;
use panda_deployer::runtime::{OrderedCertificate, RouteTable, Runtime};
use panda_domain::route::CertificateState;
use panda_domain::secret::Secret;
use panda_edge::local_ca::LocalCa;
use panda_jobs::{Outcome, Reconciler};
use panda_store::{CertificateRow, NewDomain};
use tokio::net::UdpSocket;

use crate::support::{Rig, settings};

const HOST: &str = "shop.example";

/// A name server that knows nothing: no address, no CAA record.
pub(crate) async fn empty_dns() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            // An answer, recursion available, no such name.
            (query[2], query[3]) = (query[2] | 0x80, 0x83);
            let _ = socket.send_to(&query[..length], from).await;
        }
    });
    address
}

struct Shop {
    rig: Rig,
    certificates: OrderedCertificates,
    publisher: Arc<RoutePublisher>,
    _keys: tempfile::TempDir,
}

impl Shop {
    /// A live app with a domain of its own, on a runtime that orders.
    async fn open(look_at_port_80: bool) -> Self {
        let rig = Rig::new().await;
        rig.image('1', Behaviour::default());
        rig.deploy_live('1').await;
        let new = NewDomain {
            team: rig.team.id.clone(),
            placement: rig.placement.clone(),
            host: HOST.parse().unwrap(),
            path: "/".to_owned(),
            proof_token: "proof".to_owned(),
        };
        let mut tx = rig.store().begin().await.unwrap();
        let domain = tx.insert_domain(&new).await.unwrap();
        tx.mark_verified(&rig.team.id, &domain.id).await.unwrap();
        tx.commit().await.unwrap();
        rig.fake.order_certificates(Vec::new());
        let keys = tempfile::tempdir().unwrap();
        let now = std::time::SystemTime::from(rig.test.clock.now());
        let (key, pem) = (keys.path().join("ca.key"), keys.path().join("ca.crt"));
        let ca = LocalCa::load_or_create(&key, &pem, "test", now).unwrap();
        let runtime: Arc<dyn Runtime> = Arc::new(rig.fake.clone());
        let publisher = Arc::new(RoutePublisher::new(rig.store().clone(), runtime.clone(), settings()));
        let dns = DnsLookup::at(empty_dns().await).unwrap();
        let preflight = Preflight::new(dns, Vec::new(), &CertificateSettings::default());
        let preflight = if look_at_port_80 { preflight } else { preflight.without_http() };
        let certificates =
            OrderedCertificates::new(rig.store().clone(), runtime, publisher.clone(), ca, preflight);
        Self { rig, certificates, publisher, _keys: keys }
    }

    async fn publish(&self) {
        self.publisher.publish().await.unwrap();
    }

    async fn turn(&self) {
        let outcome = self.certificates.activate().await;
        assert!(!matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    }

    fn stands(&self, state: CertificateState, renewal_at: Option<Timestamp>) {
        self.rig.fake.order_certificates(vec![OrderedCertificate {
            host: HOST.to_owned(),
            state,
            renewal_at,
        }]);
    }

    async fn state(&self) -> Option<CertificateState> {
        let mut tx = self.rig.store().read().await.unwrap();
        tx.certificate(HOST).await.unwrap().map(|row| row.state)
    }

    async fn events(&self, kind: &str) -> usize {
        let mut tx = self.rig.store().read().await.unwrap();
        let all = tx.events_after(&self.rig.team.id, None, 0, 100).await.unwrap();
        all.iter().filter(|event| event.kind == kind).count()
    }
}

#[tokio::test]
async fn a_host_is_ordered_for_and_local_hosts_get_their_certificate_from_the_local_authority() {
    let shop = Shop::open(false).await;
    shop.turn().await;
    let table = shop.rig.fake.route_table();
    assert!(table.orders.contains(HOST) && table.orders.len() == 1, "{:?}", table.orders);
    assert!(table.certificates.iter().any(|given| given.hosts == ["shop.localhost"]));
    assert_eq!(shop.state().await, Some(CertificateState::Ordering));

    let end = shop.rig.test.clock.now() + jiff::SignedDuration::from_hours(90 * 24);
    shop.stands(CertificateState::Issued { not_after: end.as_second() }, Some(end));
    shop.turn().await;
    assert_eq!(shop.state().await, Some(CertificateState::Issued { not_after: end.as_second() }));
}

#[tokio::test]
async fn no_order_is_made_for_a_host_without_an_address_and_it_is_looked_at_again_soon() {
    let shop = Shop::open(true).await;
    shop.turn().await;
    let Some(CertificateState::Failed { reason }) = shop.state().await else { panic!("it can't work") };
    assert!(reason.contains("no A or AAAA record"), "{reason}");
    assert!(shop.rig.fake.route_table().orders.is_empty());
    let attempts = async || {
        let mut tx = shop.rig.store().read().await.unwrap();
        tx.certificate(HOST).await.unwrap().map(|row| row.attempts)
    };
    shop.turn().await;
    assert_eq!(attempts().await, Some(1), "not before its time");
    shop.rig.test.clock.advance(Duration::from_secs(21));
    shop.turn().await;
    assert_eq!(attempts().await, Some(2));
}

#[tokio::test]
async fn a_failed_order_and_a_renewal_that_does_not_come_are_told_once() {
    let shop = Shop::open(false).await;
    shop.turn().await;
    shop.stands(CertificateState::Failed { reason: "wrong answer".to_owned() }, None);
    shop.turn().await;
    shop.turn().await;
    assert_eq!(shop.events("certificate.failed").await, 1);
    assert!(shop.rig.fake.route_table().orders.contains(HOST), "the runtime tries on");

    let now = shop.rig.test.clock.now();
    let (renewal, end) =
        (now + jiff::SignedDuration::from_hours(1), now + jiff::SignedDuration::from_hours(720));
    shop.stands(CertificateState::Issued { not_after: end.as_second() }, Some(renewal));
    shop.turn().await;
    shop.rig.test.clock.advance(Duration::from_hours(24));
    shop.turn().await;
    assert_eq!(shop.events("certificate.renewal_late").await, 0, "a day isn't over");
    shop.rig.test.clock.advance(Duration::from_hours(2));
    shop.turn().await;
    shop.turn().await;
    assert_eq!(shop.events("certificate.renewal_late").await, 1);
}

#[tokio::test]
async fn a_certificate_of_the_local_authority_from_before_gives_way_to_an_order() {
    let shop = Shop::open(false).await;
    let before = CertificateRow {
        host: HOST.to_owned(),
        state: CertificateState::Local,
        chain_pem: Some("chain".to_owned()),
        key: Some(Secret::new("key")),
        not_after: Some(shop.rig.test.clock.now() + jiff::SignedDuration::from_hours(90 * 24)),
        attempts: 0,
        next_attempt_at: shop.rig.test.clock.now(),
        challenge: None,
    };
    let mut tx = shop.rig.store().begin().await.unwrap();
    tx.upsert_certificate(&before).await.unwrap();
    tx.commit().await.unwrap();
    shop.turn().await;
    assert_eq!(shop.state().await, Some(CertificateState::Ordering));
    let table = shop.rig.fake.route_table();
    let given = |table: &RouteTable, host: &str| table.certificates.iter().any(|given| given.hosts == [host]);
    assert!(table.orders.contains(HOST), "{:?}", table.orders);
    assert!(given(&table, HOST), "it is served until there is another one");

    shop.stands(CertificateState::Failed { reason: "wrong answer".to_owned() }, None);
    shop.turn().await;
    shop.publish().await;
    assert!(given(&shop.rig.fake.route_table(), HOST), "also when the order fails");

    let end = shop.rig.test.clock.now() + jiff::SignedDuration::from_hours(90 * 24);
    shop.stands(CertificateState::Issued { not_after: end.as_second() }, Some(end));
    shop.turn().await;
    shop.publish().await;
    let table = shop.rig.fake.route_table();
    assert!(!given(&table, HOST) && table.orders.contains(HOST), "the runtime has its own now");
    assert!(given(&table, "shop.localhost"), "local hosts keep theirs");
}
