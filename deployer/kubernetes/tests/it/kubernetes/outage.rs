//! The API server can't be reached for a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use kube::config::Kubeconfig;
use panda_deployer::runtime::{RuntimeError, Workloads};
use panda_test_support::runtime_conformance::{App, Harness, Place, run};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::Bench;

/// A way to the API server that can be cut.
#[derive(Clone)]
struct Cut {
    away: Arc<AtomicBool>,
    now: Arc<Notify>,
}

impl Cut {
    /// Listens on a port of its own and passes everything on.
    async fn to(server: SocketAddr) -> Result<(Self, SocketAddr)> {
        let cut = Self { away: Arc::default(), now: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, passing) = (listener.local_addr()?, cut.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let passing = passing.clone();
                tokio::spawn(async move { passing.pass(client, server).await });
            }
        });
        Ok((cut, address))
    }

    async fn pass(&self, mut client: TcpStream, server: SocketAddr) {
        let cut = self.now.notified();
        if self.away.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut server) = TcpStream::connect(server).await else { return };
        tokio::select! {
            () = cut => {}
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        }
    }

    fn set(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
        if away {
            self.now.notify_waiters();
        }
    }
}

static CUT: std::sync::OnceLock<Cut> = std::sync::OnceLock::new();

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_cluster_cant_be_reached_nothing_is_claimed_and_afterwards_all_goes_on() {
    let Some(mut bench) = Bench::new() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = bench.config.kubeconfig.clone().expect("the bench has one");
    let mut kubeconfig = Kubeconfig::read_from(&path).expect("the kubeconfig can be read");
    let cluster = kubeconfig.clusters[0].cluster.as_mut().expect("it names a cluster");
    let server: http::Uri = cluster.server.clone().unwrap_or_default().parse().expect("a URL");
    let host = server.host().expect("it has a host").to_owned();
    let address = tokio::net::lookup_host((host.as_str(), server.port_u16().unwrap_or(443))).await;
    let address = address.expect("it resolves").next().expect("to an address");
    let (cut, way) = Cut::to(address).await.expect("a port is free");
    cluster.server = Some(format!("https://{way}"));
    cluster.tls_server_name = Some(host);
    let ours = folder.path().join("kubeconfig");
    std::fs::write(&ours, serde_saphyr::to_string(&kubeconfig).expect("plain data")).expect("it is written");
    bench.config.kubeconfig = Some(ours);
    assert!(CUT.set(cut).is_ok(), "one test uses it");
    let harness = bench.harness().await.expect("the driver connects");
    run(harness, |harness, place| Box::pin(cut_off(harness, place))).await.expect("it holds");
}

async fn cut_off(harness: &mut Harness, place: &Place) -> Result<()> {
    let cut = CUT.get().context("set before")?;
    let spec = harness.spec(place, App::Web, 1);
    let before = harness.serve(&spec).await?;
    let runtime = Arc::clone(&harness.runtime);
    let mut hints = runtime.watch();
    cut.set(true);
    harness
        .until("it is known not to be known", || async {
            match Workloads::observe(&*runtime, &place.key).await {
                Ok(_) => Ok(None),
                Err(error) => {
                    ensure!(matches!(error, RuntimeError::Unavailable { .. }), "{error}");
                    Ok(Some(()))
                }
            }
        })
        .await?;
    for outcome in [
        runtime.ensure_workload(&spec).await.map(drop),
        runtime.remove_workload(&spec.key, &spec.shutdown).await.map(drop),
        runtime.inventory().await.map(drop),
        runtime.routes_stand().await.map(drop),
    ] {
        ensure!(outcome.is_err_and(|error| error.is_transient()), "it can't be known");
    }
    cut.set(false);
    let after = harness
        .until("it is seen again", || async {
            match runtime.observe(&place.key).await {
                Ok(workloads) => Ok(workloads.into_iter().find(|workload| workload.key == spec.key)),
                Err(_) => Ok(None),
            }
        })
        .await?;
    ensure!(after.ready() == 1 && after.instances[0].id == before[0].id && after.instances[0].restarts == 0);
    hints.next().await.context("whoever waits is told to look")?;
    Ok(())
}
