//! A release is replaced behind a real ingress, with requests all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use panda_deployer::runtime::{PortSpec, Progress, RouteSpec, RouteTable, RouteTarget, WorkloadKey};
use panda_domain::port::PortState;
use panda_domain::release::HttpConfig;
use panda_test_support::runtime_conformance::{App, Harness, Place, run};
use panda_test_support::skip::skip;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Bench;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_replaced_without_a_failed_request() {
    let Some(bench) = Bench::new() else { return };
    if std::env::var("PANDA_TEST_CLUSTER_INGRESS").is_err() {
        return skip("kubernetes-ingress", "PANDA_TEST_CLUSTER_INGRESS names no ingress");
    }
    let harness = bench.harness().await.expect("the driver connects");
    run(harness, |harness, place| Box::pin(replaced(harness, place))).await.expect("the contract holds");
}

async fn replaced(harness: &mut Harness, place: &Place) -> Result<()> {
    let front = std::env::var("PANDA_TEST_CLUSTER_INGRESS").context("looked for before")?;
    let id = place.placement.as_str();
    let host = format!("{}.test", id[id.len() - 8..].to_ascii_lowercase());
    let old = harness.spec(place, App::Web, 3);
    harness.serve(&old).await?;
    let routed = harness.runtime.ensure_routes(&table(harness, place, &host, &old.key)).await?;
    ensure!(routed.upstreams[0].1.len() == 3, "{routed:?}");
    ensure!(harness.runtime.routes_stand().await?, "nothing happened since");
    harness
        .until("the ingress has heard of it", || async {
            Ok(get(&front, &host).await.unwrap_or_default().starts_with("HTTP/1.1 200").then_some(()))
        })
        .await?;

    let failures = Arc::new(AtomicU32::new(0));
    let sent = Arc::new(AtomicU32::new(0));
    let prober = tokio::spawn(probe(front, host.clone(), Arc::clone(&sent), Arc::clone(&failures)));
    let new = harness.spec(place, App::Root, 3);
    harness.serve(&new).await?;
    ensure!(!harness.runtime.routes_stand().await?, "instances became ready");
    let before = harness.runtime.ensure_routes(&table(harness, place, &host, &old.key)).await?;
    ensure!(before.upstreams[0].1.len() == 3, "the old one serves while the new one is ready: {before:?}");
    let routed = harness.runtime.ensure_routes(&table(harness, place, &host, &new.key)).await?;
    ensure!(routed.upstreams[0].1.len() == 3, "{routed:?}");
    ensure!(routed.upstreams[0].1.iter().all(|address| !before.upstreams[0].1.contains(address)));
    harness
        .until("the old release is gone", || async {
            let progress = harness.runtime.remove_workload(&old.key, &old.shutdown).await?;
            Ok((progress == Progress::Converged).then_some(()))
        })
        .await?;
    prober.abort();
    let (sent, failures) = (sent.load(Ordering::SeqCst), failures.load(Ordering::SeqCst));
    ensure!(sent > 20 && failures == 0, "{failures} of {sent} requests failed");
    harness.runtime.ensure_routes(&RouteTable::default()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_port_follows_the_release_and_goes_with_its_quota() {
    let Some(bench) = Bench::new() else { return };
    let harness = bench.harness().await.expect("the driver connects");
    run(harness, |harness, place| Box::pin(published(harness, place))).await.expect("the contract holds");
}

async fn published(harness: &mut Harness, place: &Place) -> Result<()> {
    // Of the band that a cluster gives to nobody unasked; another run may have it.
    let number = 30_000 + u16::try_from(std::process::id() % 80)?;
    let table = |key: &WorkloadKey, published: u16| RouteTable {
        ports: vec![PortSpec { published, target: key.clone(), port: 8080, app: "shop".to_owned() }],
        ..RouteTable::default()
    };
    let old = harness.spec(place, App::Web, 2);
    harness.serve(&old).await?;
    let told = harness.runtime.ensure_routes(&table(&old.key, number)).await?.ports;
    let [(_, PortState::Open { host: Some(node) })] = &told[..] else { anyhow::bail!("{told:?}") };
    let address = format!("{node}:{number}");
    let answers = || async {
        let answer = get(&address, "shop.test").await.unwrap_or_default();
        Ok(answer.starts_with("HTTP/1.1 200").then_some(()))
    };
    harness.until("the node takes its connections", answers).await?;
    ensure!(harness.runtime.routes_stand().await?, "nothing happened since");
    let manifest = harness.runtime.manifest(&place.key, &place.placement).await?;
    ensure!(
        manifest.contains(&format!("nodePort: {number}")) && manifest.contains("NetworkPolicy"),
        "{manifest}"
    );

    let sent = Arc::new(AtomicU32::new(0));
    let failures = Arc::new(AtomicU32::new(0));
    let prober =
        tokio::spawn(probe(address.clone(), "shop.test".into(), Arc::clone(&sent), Arc::clone(&failures)));
    let new = harness.spec(place, App::Root, 2);
    harness.serve(&new).await?;
    let told = harness.runtime.ensure_routes(&table(&new.key, number)).await?.ports;
    ensure!(matches!(told[..], [(_, PortState::Open { .. })]), "{told:?}");
    harness
        .until("the old release is gone", || async {
            let progress = harness.runtime.remove_workload(&old.key, &old.shutdown).await?;
            Ok((progress == Progress::Converged).then_some(()))
        })
        .await?;
    prober.abort();
    let (sent, failures) = (sent.load(Ordering::SeqCst), failures.load(Ordering::SeqCst));
    ensure!(sent > 20 && failures == 0, "{failures} of {sent} connections failed");

    let told = harness.runtime.ensure_routes(&table(&new.key, 80)).await?.ports;
    let [(80, PortState::Failed { reason })] = &told[..] else { anyhow::bail!("{told:?}") };
    ensure!(reason.contains("range"), "the cluster's own words: {reason}");
    ensure!(harness.runtime.ensure_routes(&RouteTable::default()).await?.ports.is_empty());
    let manifest = harness.runtime.manifest(&place.key, &place.placement).await?;
    ensure!(!manifest.contains("NodePort"), "{manifest}");
    Ok(())
}

/// A table with one route to one workload.
fn table(harness: &Harness, place: &Place, host: &str, key: &WorkloadKey) -> RouteTable {
    let route = RouteSpec {
        id: harness.ids.next(),
        placement: Some(place.placement.clone()),
        app: "shop".to_owned(),
        host: host.to_owned(),
        path: "/".to_owned(),
        target: RouteTarget::Workloads(vec![key.clone()]),
        http: HttpConfig { force_https: false, ..HttpConfig::default() },
    };
    RouteTable { routes: vec![route], ..RouteTable::default() }
}

async fn probe(front: String, host: String, sent: Arc<AtomicU32>, failures: Arc<AtomicU32>) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        let answer = get(&front, &host).await.unwrap_or_default();
        sent.fetch_add(1, Ordering::SeqCst);
        if !answer.starts_with("HTTP/1.1 200") {
            failures.fetch_add(1, Ordering::SeqCst);
            eprintln!("a request failed: {answer:?}");
        }
    }
}

async fn get(front: &str, host: &str) -> Result<String> {
    let mut stream = TcpStream::connect(front).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
