//! Load through every proxy in turn, there and back, so that drift hurts all alike.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::process;
use crate::proxies::{self, Identity, Proxy};

/// How much load.
pub(crate) struct Plan {
    pub(crate) seconds: u64,
    pub(crate) rounds: usize,
    pub(crate) connections: usize,
}

/// One run of the load generator.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) proxy: &'static str,
    pub(crate) case: String,
    pub(crate) round: usize,
    pub(crate) requests: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) per_core: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) errors: u64,
    pub(crate) resident_kib: u64,
}

/// Runs the plan and returns every sample.
pub(crate) async fn run(edge: &Path, folder: &Path, plan: &Plan) -> anyhow::Result<Vec<Sample>> {
    for program in ["wrk", "nginx"] {
        if !is_installed(program) {
            eprintln!("SKIPPED: load, because `{program}` isn't installed");
            return Ok(Vec::new());
        }
    }
    let identity = Identity::make(folder)?;
    let (_upstream, port) = proxies::upstream(folder).await?;
    let mut all = vec![proxies::start_nginx(folder, port, &identity).await?];
    let (proxy, client) = proxies::start_edge(edge, folder, 1).await?;
    proxies::configure_edge(&client, port, &identity).await?;
    all.push(proxy);
    if is_installed("haproxy") {
        all.push(proxies::start_haproxy(folder, port).await?);
    } else {
        eprintln!("SKIPPED: haproxy, because it isn't installed");
    }
    if is_installed("caddy") {
        all.push(proxies::start_caddy(folder, port, &identity).await?);
    } else {
        eprintln!("SKIPPED: caddy, because it isn't installed");
    }
    let mut samples = Vec::new();
    for round in 0..plan.rounds * 2 {
        for body in ["1k", "20k"] {
            for is_tls in [false, true] {
                let mut order: Vec<&Proxy> = all.iter().collect();
                if round % 2 == 1 {
                    order.reverse();
                }
                for proxy in order {
                    let sample = measure(proxy, body, is_tls, round, plan)?;
                    eprintln!(
                        "{:>10} {:<10} {:>9.0} requests a core second",
                        sample.proxy, sample.case, sample.per_core
                    );
                    samples.push(sample);
                }
            }
        }
    }
    Ok(samples)
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(program).exists())
}

fn measure(proxy: &Proxy, body: &str, is_tls: bool, round: usize, plan: &Plan) -> anyhow::Result<Sample> {
    let (scheme, port) = if is_tls { ("https", proxy.https) } else { ("http", proxy.http) };
    let url = format!("{scheme}://127.0.0.1:{port}/{body}");
    // A short run first fills the pools and opens the files.
    process::output("wrk", &["-t1", "-c16", "-d1s", &url])?;
    let before = proxy.process.cpu_ticks();
    let connections = format!("-c{}", plan.connections);
    let duration = format!("-d{}s", plan.seconds);
    let text = process::output("wrk", &["-t1", &connections, &duration, "--latency", &url])?;
    let ticks = proxy.process.cpu_ticks() - before;
    let outcome =
        parse(&text).with_context(|| format!("read what wrk says about {}:\n{text}", proxy.name))?;
    // Ticks are 10 ms; figures of a few thousand requests fit a float exactly.
    let cpu_seconds = to_float(ticks.max(1)) / 100.0;
    Ok(Sample {
        proxy: proxy.name,
        case: format!("{scheme}-{body}"),
        round,
        requests: outcome.requests,
        cpu_seconds,
        per_core: to_float(outcome.requests) / cpu_seconds,
        per_second: outcome.per_second,
        p50_micros: outcome.p50_micros,
        p99_micros: outcome.p99_micros,
        errors: outcome.errors,
        resident_kib: proxy.process.resident_kib(),
    })
}

/// Turns a count into a float; counts here are far below where floats get coarse.
pub(crate) fn to_float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

struct Outcome {
    requests: u64,
    per_second: f64,
    p50_micros: f64,
    p99_micros: f64,
    errors: u64,
}

fn parse(text: &str) -> Option<Outcome> {
    let after = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
    let requests = text.lines().find(|line| line.contains("requests in"))?;
    let non_2xx = after("Non-2xx or 3xx responses:").and_then(|count| count.parse().ok()).unwrap_or(0);
    let socket: u64 = after("Socket errors:")
        .map_or(0, |errors| errors.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()).sum());
    Some(Outcome {
        requests: requests.split_ascii_whitespace().next()?.parse().ok()?,
        per_second: after("Requests/sec:")?.parse().ok()?,
        p50_micros: micros(after("50%")?)?,
        p99_micros: micros(after("99%")?)?,
        errors: non_2xx + socket,
    })
}

fn micros(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|letter: char| letter.is_alphabetic())?);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1_000.0,
        "s" => 1_000_000.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let text = "Running 3s test @ http://127.0.0.1:1/1k\n  1 threads and 32 connections\n  Latency Distribution\n\
            \x20    50%    1.06ms\n     75%    1.29ms\n     99%  980.00us\n  77705 requests in 3.00s, 96.19MB read\n\
            \x20 Socket errors: connect 0, read 2, write 0, timeout 1\nRequests/sec:  25892.48\n";
        let outcome = parse(text).unwrap();
        assert_eq!((outcome.requests, outcome.errors), (77_705, 3));
        assert!((outcome.p50_micros - 1_060.0).abs() < 1e-6 && (outcome.p99_micros - 980.0).abs() < 1e-6);
    }
}
