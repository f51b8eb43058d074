//! What stands in front of an exported app: hosts, certificates and health, for Caddy, which needs no more than this to serve them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use panda_deployer::export::ExportedApp;

use super::published;

/// Writes the Caddyfile, `None` when the app takes no requests.
pub(super) fn text(app: &ExportedApp) -> Option<String> {
    let (first, last) = published(app)?;
    let upstreams: Vec<String> = (first..=last).map(|port| format!("127.0.0.1:{port}")).collect();
    let proxy = proxy(app, &upstreams.join(" "));
    let mut hosts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (host, path) in &app.hosts {
        hosts.entry(host).or_default().push(path);
    }
    let sites = hosts.into_iter().map(|(host, paths)| site(app, host, paths, &proxy));
    Some(sites.collect::<Vec<_>>().join("\n"))
}

fn site(app: &ExportedApp, host: &str, mut paths: Vec<&str>, proxy: &str) -> String {
    // Caddy redirects a host without a scheme from HTTP.
    let mut text = if app.http.force_https {
        format!("{host} {{\n")
    } else {
        format!("http://{host}, https://{host} {{\n")
    };
    let _ = writeln!(text, "\trequest_body {{\n\t\tmax_size {}\n\t}}", app.http.body_limit_bytes);
    // The longest first: the first that matches answers.
    paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
    for path in paths {
        let path = path.trim_end_matches('/');
        if path.is_empty() {
            let _ = write!(text, "\thandle {{\n{proxy}\t}}\n");
        } else {
            let name = path.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            let _ = write!(text, "\t@at{name} path {path} {path}/*\n\thandle @at{name} {{\n{proxy}\t}}\n");
        }
    }
    text.push_str("}\n");
    text
}

fn proxy(app: &ExportedApp, upstreams: &str) -> String {
    let mut text = format!("\t\treverse_proxy {upstreams} {{\n");
    let health = app.web().map(|(web, _)| &web.health);
    if let Some((health, path)) = health.and_then(|health| Some((health, health.path.as_ref()?))) {
        let _ = write!(
            text,
            "\t\t\thealth_uri {path}\n\t\t\thealth_interval {}s\n\t\t\thealth_timeout {}s\n\t\t\thealth_fails {}\n",
            health.interval_s, health.timeout_s, health.failures
        );
    }
    let _ = writeln!(
        text,
        "\t\t\ttransport http {{\n\t\t\t\tresponse_header_timeout {}s\n\t\t\t}}\n\t\t}}",
        app.http.timeout_s
    );
    text
}
