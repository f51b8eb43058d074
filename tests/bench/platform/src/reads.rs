//! Reading one app over keep-alive connections, against the bare handler on the same database file.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use panda_e2e::{App, Installation, image};
use panda_test_support::process::{Daemon, Program};
use serde::Serialize;

use crate::pair::{median, ours_first};

/// Connections of the load generator.
const CONNECTIONS: u32 = 16;

/// Samples of one side.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Side {
    pub(crate) per_second: Vec<f64>,
    pub(crate) p99_ms: Vec<f64>,
}

/// Both sides; a round's samples stand at the same place.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Reads {
    pub(crate) ours: Side,
    pub(crate) bare: Side,
}

impl Reads {
    /// Ours to theirs; more is better.
    pub(crate) fn ratio(&self) -> f64 {
        median(&self.ours.per_second) / median(&self.bare.per_second)
    }
}

pub(crate) async fn run(panda: &Installation, rounds: usize, seconds: u64) -> anyhow::Result<Reads> {
    let app = App::create(panda, "bench-reads").await?;
    app.deploy_live(&image(panda, "v1")).await?;
    let token = token(panda)?;
    let (bare, _daemon) = start_bare(panda).await?;
    let path = "/api/v1/apps/bench-reads";
    let (our_url, bare_url) = (format!("{}{path}", panda.address), format!("{bare}{path}"));
    for url in [&our_url, &bare_url] {
        let answer = reqwest::Client::new().get(url).bearer_auth(&token).send().await?;
        anyhow::ensure!(answer.status().is_success(), "{url} answers {}", answer.status());
        load(url, &token, 1).await?;
    }
    let mut reads = Reads::default();
    for round in 0..rounds {
        let ours = async |reads: &mut Reads| {
            keep(&mut reads.ours, load(&our_url, &token, seconds).await?);
            anyhow::Ok(())
        };
        if ours_first(round) {
            ours(&mut reads).await?;
        }
        keep(&mut reads.bare, load(&bare_url, &token, seconds).await?);
        if !ours_first(round) {
            ours(&mut reads).await?;
        }
    }
    app.destroy().await?;
    Ok(reads)
}

fn keep(side: &mut Side, (per_second, p99): (f64, f64)) {
    side.per_second.push(per_second);
    side.p99_ms.push(p99);
}

/// The owner's token, as the command line sends it.
fn token(panda: &Installation) -> anyhow::Result<String> {
    let request = panda.api().request(reqwest::Method::GET, "/server").build()?;
    let value = request.headers().get("authorization").context("the API has no token")?.to_str()?;
    Ok(value.trim_start_matches("Bearer ").to_owned())
}

async fn start_bare(panda: &Installation) -> anyhow::Result<(String, Daemon)> {
    let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let database = panda.folder.join("data/db/panda.db");
    let daemon = Program::new(std::env::current_exe()?)
        .args(["bare", "--listen", &listen.to_string(), "--database", &database.display().to_string()])
        .start("bare", &panda.folder.join("bare.log"))?;
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(listen).await.is_err() {
        let log = daemon.log();
        anyhow::ensure!(
            daemon.ended().is_none() && begun.elapsed() < Duration::from_secs(20),
            "the bare handler doesn't listen: {log}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((format!("http://{listen}"), daemon))
}

/// Returns requests a second and the 99th percentile in milliseconds.
async fn load(url: &str, token: &str, seconds: u64) -> anyhow::Result<(f64, f64)> {
    let done = Program::new("wrk")
        .args(["-t1", "--latency", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")])
        .args(["-H", &format!("Authorization: Bearer {token}"), url])
        .run(Duration::from_secs(seconds + 30))
        .await?;
    anyhow::ensure!(done.code == Some(0), "wrk: {}", done.stderr);
    anyhow::ensure!(!done.stdout.contains("Non-2xx"), "not every answer was a success: {}", done.stdout);
    let after = |word: &str| {
        let line = done.stdout.lines().find(|line| line.trim_start().starts_with(word));
        line.and_then(|line| line.split_whitespace().nth(1))
            .map(str::to_owned)
            .with_context(|| format!("wrk said no `{word}`"))
    };
    Ok((after("Requests/sec:")?.parse()?, in_ms(&after("99%")?)?))
}

fn in_ms(text: &str) -> anyhow::Result<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = found.with_context(|| format!("`{text}` is no time"))?;
    Ok(number.parse::<f64>()? * factor)
}
