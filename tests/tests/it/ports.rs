//! Raw TCP from outside: an address that stays over deploys, and no connection that fails.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use panda_api_types::{DeployRequest, ErrorCode, Page, Port};
use panda_e2e::{App, Installation, image, on_both_runtimes};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// How long a port may take to be told, and a cluster to follow.
const PATIENCE: Duration = Duration::from_secs(90);
const MANIFEST: &str = "[[ports]]\nport = 9000\nprotocol = \"tcp\"\n";

on_both_runtimes!(a_port_is_reached_by_plain_tcp_and_no_connection_fails_through_a_deploy);

async fn a_port_is_reached_by_plain_tcp_and_no_connection_fails_through_a_deploy(
    panda: &Installation,
) -> anyhow::Result<()> {
    let app = App::create_apart(panda, "raw").await?;
    let mut first = with_manifest(panda, "tcp-v1", MANIFEST);
    first.overrides.replicas = Some(2);
    app.deploy_live(&first).await?;
    let port = open(panda, &app).await?;
    ensure!((port.process.as_str(), port.port, port.protocol.as_str()) == ("web", 9000, "tcp"), "{port:?}");
    let address = address(&port)?;
    if panda.cluster.is_some() {
        // Its nodes hear of a new port a moment after the cluster does.
        until("the nodes have followed", async || Ok(knock(address).await.is_ok())).await?;
    }
    ensure!(knock(address).await? == "v1");

    let mut kept = BufReader::new(TcpStream::connect(address).await?);
    ensure!(line(&mut kept).await? == "v1");
    let prober = Prober::start(address);
    app.deploy_live(&with_manifest(panda, "tcp-v2", MANIFEST)).await?;
    kept.write_all(b"still there\n").await?;
    ensure!(line(&mut kept).await? == "still there", "an old instance keeps its connections while it drains");
    until("the new version answers", async || Ok(knock(address).await? == "v2")).await?;
    app.settle(2).await?;
    prober.stop().await?;
    ensure!(open(panda, &app).await?.published == port.published, "it is kept");

    let said = panda.cli_ok(&panda.folder, &["ports", "-a", "raw", "--json"]).await?;
    let said: Vec<Port> = serde_json::from_str(&said)?;
    ensure!(said.len() == 1 && said[0].published == port.published, "{said:?}");
    clash(panda, port.published.context("it is open")?).await?;

    app.deploy_live(&with_manifest(panda, "tcp-v2", "")).await?;
    let left: Page<Port> = panda.api().get(&app.path("/ports")).await?;
    ensure!(left.items.is_empty(), "{left:?}");
    until("nobody answers any more", async || Ok(TcpStream::connect(address).await.is_err())).await
}

/// Somebody else's port is refused without a word about whose it is.
async fn clash(panda: &Installation, taken: u16) -> anyhow::Result<()> {
    let other = App::create_apart(panda, "other").await?;
    let wants = format!("[[ports]]\nport = 9000\npublished = {taken}\n");
    let refused =
        other.ask(&with_manifest(panda, "v1", &wants)).await.err().context("it has to be refused")?;
    ensure!(refused.code() == Some(ErrorCode::NameTaken), "{refused:?}");
    ensure!(!format!("{refused:?}").contains("raw"), "{refused:?}");
    Ok(())
}

fn with_manifest(panda: &Installation, tag: &str, manifest: &str) -> DeployRequest {
    DeployRequest { manifest: Some(manifest.to_owned()), ..image(panda, tag) }
}

/// Waits until the app's only port is open.
async fn open(panda: &Installation, app: &App<'_>) -> anyhow::Result<Port> {
    let begun = Instant::now();
    loop {
        let ports: Page<Port> = panda.api().get(&app.path("/ports")).await?;
        match &ports.items[..] {
            [port] if port.state == "open" => return Ok(port.clone()),
            _ => ensure!(begun.elapsed() < PATIENCE, "it isn't open: {ports:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Reads `tcp://host:port`; names below `localhost` are loopback, which the system's resolver doesn't know.
fn address(port: &Port) -> anyhow::Result<SocketAddr> {
    let address = port.address.as_deref().context("an open port has an address")?;
    let (host, number) =
        address.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')).context("tcp://host:port")?;
    let ip = match host.parse() {
        Ok(ip) => ip,
        Err(_) if host.ends_with(".localhost") => IpAddr::from(Ipv4Addr::LOCALHOST),
        Err(error) => return Err(error).with_context(|| address.to_owned()),
    };
    Ok(SocketAddr::new(ip, number.parse()?))
}

/// Connects, is told the version, and is repeated; returns the version.
async fn knock(address: SocketAddr) -> anyhow::Result<String> {
    let knocking = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        let version = line(&mut stream).await?;
        stream.write_all(b"hello\n").await?;
        ensure!(line(&mut stream).await? == "hello", "it isn't repeated");
        Ok(version)
    };
    tokio::time::timeout(Duration::from_secs(10), knocking).await.context("nobody answers")?
}

async fn line(stream: &mut BufReader<TcpStream>) -> anyhow::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    ensure!(line.ends_with('\n'), "the connection ended after {line:?}");
    Ok(line.trim_end().to_owned())
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !so().await? {
        ensure!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Knocks 50 times a second and counts what fails.
struct Prober {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Prober {
    fn start(address: SocketAddr) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (stop.clone(), sent.clone());
        let task = tokio::spawn(async move {
            let (mut failures, mut knocks) = (Vec::new(), tokio::task::JoinSet::new());
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while !stopped.load(Ordering::SeqCst) {
                tick.tick().await;
                counted.fetch_add(1, Ordering::SeqCst);
                knocks.spawn(knock(address));
                while let Some(ended) = knocks.try_join_next() {
                    failures.extend(ended.expect("a knock doesn't panic").err().map(|e| format!("{e:#}")));
                }
            }
            let rest = knocks.join_all().await.into_iter().filter_map(Result::err);
            failures.extend(rest.map(|error| format!("{error:#}")));
            failures
        });
        Self { stop, sent, task }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let (failures, sent) = (self.task.await?, self.sent.load(Ordering::SeqCst));
        ensure!(
            sent > 50 && failures.is_empty(),
            "{} of {sent} connections failed: {failures:?}",
            failures.len()
        );
        Ok(())
    }
}
