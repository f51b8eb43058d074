//! Certificates that the runtime orders by itself: ordered after a look, told as observed, and an alarm when none is renewed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
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
use panda_store::testing::skip;
use panda_store::{CertificateRow, NewDomain};
use panda_test_support::dns::TestDns;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use crate::support::{Rig, settings};

const HOST: &str = "www.shop.example";

struct Shop {
    rig: Rig,
    certificates: OrderedCertificates,
    publisher: Arc<RoutePublisher>,
    keys: tempfile::TempDir,
    dns: TestDns,
}

/// Makes the reconciler, as a start of the server does.
fn reconciler(
    rig: &Rig,
    publisher: &Arc<RoutePublisher>,
    keys: &Path,
    preflight: Preflight,
) -> OrderedCertificates {
    let now = std::time::SystemTime::from(rig.test.clock.now());
    let ca = LocalCa::load_or_create(&keys.join("ca.key"), &keys.join("ca.crt"), "test", now).unwrap();
    let runtime: Arc<dyn Runtime> = Arc::new(rig.fake.clone());
    OrderedCertificates::new(rig.store().clone(), runtime, publisher.clone(), ca, preflight)
}

/// Looks by this DNS whether that authority would issue for hosts that lead to `own`.
fn preflight(dns: &TestDns, own: &[IpAddr], directory: Option<String>) -> Preflight {
    let authority = CertificateSettings { directory, ..CertificateSettings::default() };
    Preflight::new(DnsLookup::at(dns.address()).unwrap(), own.to_vec(), &authority)
}

/// Answers every request on this listener with a body of JSON, as long as the test runs.
fn answer(listener: TcpListener, body: &'static str) {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
}

impl Shop {
    /// A live app with a domain of its own, on a runtime that orders.
    async fn open(look_at_port_80: bool) -> Self {
        let dns = TestDns::start().await;
        let preflight = preflight(&dns, &[], None);
        Self::open_with(dns, if look_at_port_80 { preflight } else { preflight.without_http() }).await
    }

    async fn open_with(dns: TestDns, preflight: Preflight) -> Self {
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
        let runtime: Arc<dyn Runtime> = Arc::new(rig.fake.clone());
        let publisher = Arc::new(RoutePublisher::new(rig.store().clone(), runtime, settings()));
        let certificates = reconciler(&rig, &publisher, keys.path(), preflight);
        Self { rig, certificates, publisher, keys, dns }
    }

    /// What a new start of the server makes of the same state.
    fn restart(&mut self) {
        let preflight = preflight(&self.dns, &[], None).without_http();
        self.certificates = reconciler(&self.rig, &self.publisher, self.keys.path(), preflight);
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

    /// Turns once more, after the wait that follows an obstacle; returns the obstacle that is found then.
    async fn obstacle(&self) -> Option<String> {
        self.rig.test.clock.advance(Duration::from_hours(1));
        self.turn().await;
        match self.state().await {
            Some(CertificateState::Failed { reason }) => Some(reason),
            Some(CertificateState::Ordering) => None,
            other => panic!("neither ordered nor refused: {other:?}"),
        }
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
async fn the_caa_records_of_the_host_or_of_its_nearest_parent_say_who_may_issue() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let directory = format!("http://{}/dir", listener.local_addr().unwrap());
    answer(listener, r#"{ "meta": { "caaIdentities": ["ca.example"] } }"#);
    let dns = TestDns::start().await;
    dns.set_caa("shop.example", "other.example");
    let preflight = preflight(&dns, &[], Some(directory)).without_http();
    let shop = Shop::open_with(dns, preflight).await;
    let reason = shop.obstacle().await.expect("its parent lets somebody else");
    for word in ["other.example", HOST, "0 issue \"ca.example\""] {
        assert!(reason.contains(word), "{reason}");
    }
    // What the host says itself counts before what its parent says.
    shop.dns.set_caa(HOST, ";");
    let reason = shop.obstacle().await.expect("it lets nobody");
    assert!(reason.contains("let nobody issue"), "{reason}");
    assert!(shop.rig.fake.route_table().orders.is_empty());
    shop.dns.set_caa(HOST, "ca.example; validationmethods=http-01");
    assert_eq!(shop.obstacle().await, None);
    assert!(shop.rig.fake.route_table().orders.contains(HOST));
}

#[tokio::test]
async fn a_host_at_whose_port_80_nobody_answers_is_not_ordered_for() {
    // Taken and silent: nobody else can listen there meanwhile.
    let (socket, ip) = (TcpSocket::new_v4().unwrap(), Ipv4Addr::new(127, 80, 0, 80));
    if let Err(error) = socket.bind(SocketAddr::from((ip, 80))) {
        return skip("port-80", &format!("port 80 of {ip} can't be had: {error}"));
    }
    let dns = TestDns::start().await;
    dns.set_a(HOST, &ip.to_string());
    let preflight = preflight(&dns, &[IpAddr::V4(ip)], None);
    let shop = Shop::open_with(dns, preflight).await;
    let reason = shop.obstacle().await.expect("nobody answers");
    for word in ["port 80", &ip.to_string(), HOST] {
        assert!(reason.contains(word), "{reason}");
    }
    assert!(shop.rig.fake.route_table().orders.is_empty());
    answer(socket.listen(8).unwrap(), "{}");
    assert_eq!(shop.obstacle().await, None);
}

#[tokio::test]
async fn a_failed_order_and_a_renewal_that_does_not_come_are_told_once() {
    let mut shop = Shop::open(false).await;
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
    shop.restart();
    shop.turn().await;
    assert_eq!(shop.events("certificate.renewal_late").await, 1, "a new start doesn't tell it again");
    // What is in the way comes and goes; it is the same certificate that isn't renewed.
    shop.stands(CertificateState::Failed { reason: "wrong answer".to_owned() }, None);
    shop.turn().await;
    shop.publish().await;
    assert!(shop.rig.fake.route_table().orders.contains(HOST), "the runtime tries on");
    shop.stands(CertificateState::Issued { not_after: end.as_second() }, Some(renewal));
    shop.turn().await;
    assert_eq!(shop.events("certificate.renewal_late").await, 1);

    let now = shop.rig.test.clock.now();
    let (renewal, end) =
        (now + jiff::SignedDuration::from_hours(1), now + jiff::SignedDuration::from_hours(720));
    shop.stands(CertificateState::Issued { not_after: end.as_second() }, Some(renewal));
    shop.turn().await;
    shop.rig.test.clock.advance(Duration::from_hours(26));
    shop.turn().await;
    assert_eq!(shop.events("certificate.renewal_late").await, 2, "that of the next one is");
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
