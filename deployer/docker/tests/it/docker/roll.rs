//! A release is replaced behind a real edge, with requests all the time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use panda_deployer::runtime::{PortSpec, Progress, RouteSpec, RouteTable, RouteTarget, WorkloadKey};
use panda_domain::port::PortState;
use panda_domain::release::HttpConfig;
use panda_edge::{AccessLogTarget, Edge, EdgeConfig};
use panda_test_support::runtime_conformance::{App, Harness, Place, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Bench;

const HOST: &str = "shop.test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_replaced_without_a_failed_request() {
    let Some(mut bench) = Bench::new() else { return };
    let control = bench.config.state_dir.join("edge.sock");
    bench.config.edge_socket = Some(control.clone());
    let edge = Edge::start(EdgeConfig {
        http: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        https: Vec::new(),
        control,
        state_dir: bench.config.state_dir.join("edge"),
        access_log: AccessLogTarget::Off,
        metrics: None,
        workers: 1,
        trusted_proxies: Vec::new(),
        limits: panda_edge::Limits::default(),
    });
    let edge = edge.await.expect("the edge starts");
    let front = edge.listening().http[0];
    EDGE.set(front).expect("one test uses it");
    let harness = bench.harness().await.expect("the driver connects");
    run(harness, |harness, place| Box::pin(replaced(harness, place))).await.expect("the contract holds");
    edge.stop().await;
}

static EDGE: std::sync::OnceLock<SocketAddr> = std::sync::OnceLock::new();

async fn replaced(harness: &mut Harness, place: &Place) -> Result<()> {
    let front = *EDGE.get().expect("set before the contract runs");
    let old = harness.spec(place, App::Web, 3);
    harness.serve(&old).await?;
    let port = free_port()?;
    let routed = harness.runtime.ensure_routes(&table(harness, place, &old.key, port)).await?;
    ensure!(routed.upstreams[0].1.len() == 3, "{routed:?}");
    ensure!(routed.ports == [(port, PortState::Open { host: None })], "{routed:?}");
    ensure!(harness.runtime.routes_stand().await?, "nothing happened since");
    let refused = harness.runtime.ensure_routes(&table(harness, place, &old.key, 0)).await?;
    ensure!(
        refused.upstreams[0].1.len() == 3,
        "a port that the edge refuses takes nothing else along: {refused:?}"
    );
    ensure!(matches!(refused.ports[0], (0, PortState::Failed { .. })), "{refused:?}");
    harness.runtime.ensure_routes(&table(harness, place, &old.key, port)).await?;

    let failures = Arc::new(AtomicU32::new(0));
    let sent = Arc::new(AtomicU32::new(0));
    let at_port = SocketAddr::from(([127, 0, 0, 1], port));
    let prober = tokio::spawn(probe(front, Arc::clone(&sent), Arc::clone(&failures)));
    let port_prober = tokio::spawn(probe(at_port, Arc::clone(&sent), Arc::clone(&failures)));
    let new = harness.spec(place, App::Root, 3);
    harness.serve(&new).await?;
    ensure!(!harness.runtime.routes_stand().await?, "instances became ready");
    let routed = harness.runtime.ensure_routes(&table(harness, place, &new.key, port)).await?;
    ensure!(routed.upstreams[0].1.len() == 3, "{routed:?}");
    harness
        .until("the old release is gone", || async {
            let progress = harness.runtime.remove_workload(&old.key, &old.shutdown).await?;
            Ok((progress == Progress::Converged).then_some(()))
        })
        .await?;
    prober.abort();
    port_prober.abort();
    let (sent, failures) = (sent.load(Ordering::SeqCst), failures.load(Ordering::SeqCst));
    ensure!(sent > 20 && failures == 0, "{failures} of {sent} requests failed");
    Ok(())
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A table with one route and one port to one workload.
fn table(harness: &Harness, place: &Place, key: &WorkloadKey, published: u16) -> RouteTable {
    let port = PortSpec { published, target: key.clone(), port: 8080, app: "shop".to_owned() };
    let route = RouteSpec {
        id: harness.ids.next(),
        placement: Some(place.placement.clone()),
        app: "shop".to_owned(),
        host: HOST.to_owned(),
        path: "/".to_owned(),
        target: RouteTarget::Workloads(vec![key.clone()]),
        http: HttpConfig { force_https: false, ..HttpConfig::default() },
    };
    RouteTable { routes: vec![route], ports: vec![port], ..RouteTable::default() }
}

async fn probe(front: SocketAddr, sent: Arc<AtomicU32>, failures: Arc<AtomicU32>) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        let answer = get(front).await.unwrap_or_default();
        sent.fetch_add(1, Ordering::SeqCst);
        if !answer.starts_with("HTTP/1.1 200") {
            failures.fetch_add(1, Ordering::SeqCst);
            eprintln!("a request failed: {answer:?}");
        }
    }
}

async fn get(front: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(front).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
