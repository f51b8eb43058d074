//! Certificates that are really served: given ones, and one from a real authority.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret as ClusterSecret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, ListParams};
use panda_deployer::runtime::{CertificateSpec, RouteSpec, RouteTable, RouteTarget, WorkloadKey};
use panda_domain::release::HttpConfig;
use panda_domain::route::CertificateState;
use panda_domain::secret::Secret;
use panda_kubernetes::Acme;
use panda_kubernetes::objects::cluster_issuer::ClusterIssuer;
use panda_test_support::runtime_conformance::{App, Harness, Place, run};
use panda_test_support::skip::skip;

use super::{Bench, client, cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_the_table_is_served_until_its_host_goes() {
    let Some(bench) = Bench::new() else { return };
    if std::env::var_os("PANDA_TEST_CLUSTER_INGRESS_TLS").is_none() {
        return skip("kubernetes-ingress", "PANDA_TEST_CLUSTER_INGRESS_TLS names no ingress");
    }
    let harness = bench.harness().await.expect("the driver connects");
    run(harness, |harness, place| Box::pin(given(harness, place))).await.expect("it holds");
}

async fn given(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    harness.serve(&spec).await?;
    let host = host(place);
    let made = rcgen::generate_simple_self_signed(vec![host.clone()])?;
    let mut table = table(harness, place, &host, &spec.key);
    table.certificates.push(CertificateSpec {
        hosts: vec![host.clone()],
        chain_pem: made.cert.pem(),
        key_pem: Secret::new(made.signing_key.serialize_pem()),
    });
    harness.runtime.ensure_routes(&table).await?;
    harness
        .until("it is served", || async {
            Ok((served(&host, made.cert.pem().as_bytes()).await.ok().as_deref() == Some("v1\n"))
                .then_some(()))
        })
        .await?;
    let (client, namespace) = cluster(place).await?;
    harness.runtime.ensure_routes(&RouteTable::default()).await?;
    let ingresses = Api::<Ingress>::namespaced(client.clone(), &namespace);
    ensure!(ingresses.list(&ListParams::default()).await?.items.is_empty(), "the host is gone");
    let secrets = Api::<ClusterSecret>::namespaced(client, &namespace);
    let tls = secrets.list(&ListParams::default().fields("type=kubernetes.io/tls")).await?;
    ensure!(tls.items.is_empty(), "and its key");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_ordered_from_an_authority_and_served() {
    let Some(mut bench) = Bench::new() else { return };
    let Ok(server) = std::env::var("PANDA_TEST_CLUSTER_ACME") else {
        return skip("kubernetes-acme", "PANDA_TEST_CLUSTER_ACME names no ACME server");
    };
    let authority = std::env::var("PANDA_TEST_CLUSTER_ACME_CA").expect("it comes with the server");
    let authority = std::fs::read(authority).expect("the authority can be read");
    let issuer = format!("{}-issuer", bench.config.installation.to_lowercase().replace('_', "-"));
    bench.config.issuer = Some(issuer);
    bench.config.acme = Some(Acme { server, email: None, ca_bundle: Some(base64(&authority)) });
    let named = bench.config.issuer.clone().unwrap_or_default();
    let harness = bench.harness().await.expect("the driver connects");
    let outcome = run(harness, |harness, place| Box::pin(ordered(harness, place))).await;
    // It lies in no namespace that would take it along.
    let client = client().await.expect("the cluster is there");
    let removed = Api::<ClusterIssuer>::all(client).delete(&named, &DeleteParams::default()).await;
    outcome.expect("it holds");
    removed.expect("the issuer was made");
}

async fn ordered(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    harness.serve(&spec).await?;
    let host = host(place);
    let mut table = table(harness, place, &host, &spec.key);
    harness.runtime.ensure_routes(&table).await?;
    ensure!(
        harness.runtime.ordered_certificates().await?.is_empty(),
        "none is ordered that the table doesn't ask for"
    );
    table.orders.insert(host.clone());
    harness.runtime.ensure_routes(&table).await?;
    let root = root().await.context("ask the authority for its root")?;
    harness
        .until("it is issued and served", || async {
            Ok((served(&host, &root).await.ok().as_deref() == Some("v1\n")).then_some(()))
        })
        .await?;
    let ordered = harness.runtime.ordered_certificates().await?;
    let issued = ordered.iter().find(|one| one.host == host).context("it is told of")?;
    ensure!(
        matches!(issued.state, CertificateState::Issued { .. }) && issued.renewal_at.is_some(),
        "{issued:?}"
    );
    given_instead(harness, place, table, &root).await?;
    harness.runtime.ensure_routes(&RouteTable::default()).await?;
    Ok(())
}

/// A certificate that is given takes the place of an ordered one, which nobody renews any more; and the other way round.
async fn given_instead(harness: &Harness, place: &Place, mut table: RouteTable, root: &[u8]) -> Result<()> {
    let host = host(place);
    let made = rcgen::generate_simple_self_signed(vec![host.clone()])?;
    let trusted = made.cert.pem();
    let orders = std::mem::take(&mut table.orders);
    table.certificates.push(CertificateSpec {
        hosts: vec![host.clone()],
        chain_pem: trusted.clone(),
        key_pem: Secret::new(made.signing_key.serialize_pem()),
    });
    let is_served = async |trusted: &[u8]| {
        let page = served(&host, trusted).await.ok();
        Ok((page.as_deref() == Some("v1\n")).then_some(()))
    };
    harness.runtime.ensure_routes(&table).await?;
    harness.until("the given one is served", || is_served(trusted.as_bytes())).await?;
    harness
        .until("the ordered one is gone", || async {
            Ok(harness.runtime.ordered_certificates().await?.is_empty().then_some(()))
        })
        .await?;
    table.certificates.clear();
    table.orders = orders;
    harness.runtime.ensure_routes(&table).await?;
    harness.until("one is ordered again and served", || is_served(root)).await
}

/// The certificate that issued ones end in.
async fn root() -> Result<Vec<u8>> {
    let authority = std::fs::read(std::env::var("PANDA_TEST_CLUSTER_ACME_CA")?)?;
    let client = reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&authority)?]);
    let answer = client.build()?.get(std::env::var("PANDA_TEST_CLUSTER_ACME_ROOT")?).send().await?;
    Ok(answer.error_for_status()?.bytes().await?.to_vec())
}

/// Asks for a page by TLS, trusting nothing but this certificate.
async fn served(host: &str, trusted: &[u8]) -> Result<String> {
    let front: SocketAddr = std::env::var("PANDA_TEST_CLUSTER_INGRESS_TLS")?.parse()?;
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(trusted)?])
        .resolve(host, front)
        .timeout(Duration::from_secs(5))
        .build()?;
    let answer = client.get(format!("https://{host}:{}/", front.port())).send().await?;
    Ok(answer.error_for_status()?.text().await?)
}

fn host(place: &Place) -> String {
    let id = place.placement.as_str();
    format!("tls-{}.test", &id[id.len() - 8..])
}

fn table(harness: &Harness, place: &Place, host: &str, key: &WorkloadKey) -> RouteTable {
    let route = RouteSpec {
        id: harness.ids.next(),
        placement: Some(place.placement.clone()),
        app: "shop".to_owned(),
        host: host.to_owned(),
        path: "/".to_owned(),
        target: RouteTarget::Workloads(vec![key.clone()]),
        http: HttpConfig::default(),
    };
    RouteTable { routes: vec![route], ..RouteTable::default() }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
