//! Looks for settings that can't work together, before they bite.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use panda_domain::port::PortRange;

use super::{Config, RuntimeKind, TcpService};

/// Between an upload's begin and its deploy an hour may pass on a slow line.
const LEAST_UPLOAD_GRACE_S: u32 = 3600;
/// What an API server gives to services as ports of nodes, unless it was told otherwise.
const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// Something that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The setting, such as `registry.pull_url`.
    pub setting: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub fix: String,
    /// Whether the server can't start with it.
    pub fatal: bool,
}

/// Returns everything that is wrong, at once.
pub(crate) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |setting, fatal, problem: String, fix: &str| {
        findings.push(Finding { setting, problem, fix: fix.to_owned(), fatal });
    };
    if !config.data_dir.is_absolute() {
        say(
            "data_dir",
            true,
            format!("`{}` isn't absolute", config.data_dir.display()),
            "name it from the root, such as /var/lib/panda",
        );
    }
    if !config.public_url.starts_with("https://") || config.platform_host().is_empty() {
        say(
            "public_url",
            true,
            format!("`{}` is no https address", config.public_url),
            "such as https://panda.example.com",
        );
    }
    if !is_private_range(&config.runtime.subnets) {
        let text = format!("`{}` is no private range of 16 bits or more", config.runtime.subnets);
        say("runtime.subnets", true, text, "such as 10.213.0.0/16, and one that the host doesn't use");
    }
    let on_docker = config.runtime.kind == RuntimeKind::Docker;
    if on_docker && !config.listen.api.ip().is_loopback() {
        let text = format!("{} isn't loopback", config.listen.api);
        say("listen.api", true, text, "listen on 127.0.0.1: the edge brings requests from outside, over TLS");
    }
    for (problem, fatal, fix) in tcp_ports(config) {
        say("listen.tcp_ports", fatal, problem, fix);
    }
    let builder = &config.builder;
    let files = [&builder.ca_file, &builder.cert_file, &builder.key_file];
    let given = files.iter().filter(|file| !file.as_os_str().is_empty()).count();
    let exposed = builder.address.starts_with("tcp://") && given == 0;
    if exposed || (given > 0 && given < files.len()) {
        let text = "a builder at a TCP address serves everybody who reaches it, every build step included";
        let fix = "set `builder.ca_file`, `builder.cert_file` and `builder.key_file`, all three";
        say("builder.cert_file", true, text.to_owned(), fix);
    }
    for mirror in config.registry.mirrors.iter().filter(|mirror| !mirror.contains('=')) {
        let text = format!("`{mirror}` names no registry that it stands for");
        say("registry.mirrors", true, text, "such as docker.io=mirror.example.com");
    }
    if !on_docker && config.registry.pull_url.starts_with("127.") {
        let text = format!("nodes of a cluster can't pull from `{}`", config.registry.pull_url);
        say("registry.pull_url", true, text, "name the host by which nodes reach the registry");
    }
    let url = &config.database.url;
    if !url.starts_with("sqlite://") && !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        say(
            "database.url",
            true,
            "it is neither SQLite nor PostgreSQL".to_owned(),
            "sqlite:///path/panda.db or postgres://user@host/name",
        );
    }
    if config.builder.concurrency == 0 || config.builder.concurrency > 64 {
        say(
            "builder.concurrency",
            true,
            format!("{} is out of range", config.builder.concurrency),
            "1 to 64",
        );
    }
    let garbage = &config.garbage;
    if garbage.keep_releases == 0 || garbage.every_s == 0 {
        let text = format!("{} releases, every {} s", garbage.keep_releases, garbage.every_s);
        say("garbage", true, text, "keep at least one release, and look at most once a second");
    }
    if garbage.upload_grace_s < LEAST_UPLOAD_GRACE_S {
        let text = format!("{} s is shorter than an upload may take", garbage.upload_grace_s);
        say("garbage.upload_grace_s", false, text, "use 3600 or more: a deploy may come late");
    }
    if !matches!(config.log.format.as_str(), "text" | "json") {
        say("log.format", true, format!("`{}` is no format", config.log.format), "use `text` or `json`");
    }
    let host = config.platform_host();
    let apps = &config.apps_domain;
    let same_site =
        host.strip_suffix(apps.as_str()).is_some_and(|rest| rest.ends_with('.')) && apps != "localhost";
    if same_site {
        let text = format!(
            "apps get hosts below `{apps}`, where the platform itself answers, so they share its cookies' site"
        );
        say("apps_domain", false, text, "give apps a registrable domain of their own");
    }
    if !config.certificates.acme_directory.is_empty() && config.certificates.acme_email.is_empty() {
        say(
            "certificates.acme_email",
            false,
            "it is empty".to_owned(),
            "name an address, so that the authority can warn you",
        );
    }
    findings
}

/// Returns what is wrong with the ports that apps may publish, whether the server can't start with it, and what would be right.
fn tcp_ports(config: &Config) -> Vec<(String, bool, &'static str)> {
    let range: PortRange = match config.listen.tcp_ports.parse() {
        Ok(range) => range,
        Err(wrong) => return vec![(wrong.to_string(), true, "such as 20000-20099, or nothing for none")],
    };
    let cluster = &config.kubernetes;
    match config.runtime.kind {
        RuntimeKind::Docker => {
            let pulls = config.registry.pull_url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            let own = [
                Some(config.listen.api.port()),
                Some(config.edge.http_port),
                Some(config.edge.https_port),
                pulls,
            ];
            let taken: Vec<u16> = own.into_iter().flatten().filter(|port| range.contains(*port)).collect();
            let problem = |port: u16| {
                (format!("{port} is the platform's own"), true, "leave the platform's own ports out")
            };
            taken.into_iter().map(problem).collect()
        }
        RuntimeKind::Kubernetes if cluster.tcp_service == TcpService::NodePort => {
            let outside = range.iter().any(|port| !NODE_PORTS.contains(&port));
            let problem = format!(
                "{range} isn't within {}-{}, which most clusters give to nodes",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            );
            outside
                .then_some((problem, false, "such as 30000-30085, which the cluster gives to nobody unasked"))
                .into_iter()
                .collect()
        }
        RuntimeKind::Kubernetes => Vec::new(),
    }
}

fn is_private_range(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let (Ok(address), Ok(bits)) = (address.parse::<Ipv4Addr>(), bits.parse::<u8>()) else { return false };
    address.is_private() && (8..=16).contains(&bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(check(&Config::load(None, None, None).unwrap()), vec![]);
    }

    #[test]
    fn every_mistake_is_named_with_its_setting_and_fix() {
        let mut config = Config::load(None, None, None).unwrap();
        config.public_url = "http://x".into();
        config.runtime.subnets = "8.8.8.0/24".into();
        config.database.url = "mysql://x".into();
        config.garbage.upload_grace_s = 60;
        let found: Vec<_> = check(&config).into_iter().map(|f| (f.setting, f.fatal)).collect();
        assert_eq!(
            found,
            vec![
                ("public_url", true),
                ("runtime.subnets", true),
                ("database.url", true),
                ("garbage.upload_grace_s", false),
            ]
        );
    }

    #[test]
    fn ports_of_apps_are_a_range_without_the_platforms_own_and_in_a_cluster_those_of_its_nodes() {
        let found = |kind: RuntimeKind, range: &str| {
            let mut config = Config::load(None, None, None).unwrap();
            config.runtime.kind = kind;
            config.registry.pull_url = "registry.example.com:7050".into();
            range.clone_into(&mut config.listen.tcp_ports);
            let found = check(&config).into_iter().filter(|found| found.setting == "listen.tcp_ports");
            found.map(|found| found.fatal).collect::<Vec<_>>()
        };
        assert!(found(RuntimeKind::Docker, "20000-20099").is_empty());
        assert_eq!(found(RuntimeKind::Docker, "7000-7100"), [true, true], "API and registry");
        assert_eq!(found(RuntimeKind::Docker, "22"), [true]);
        assert!(found(RuntimeKind::Kubernetes, "30000-30085").is_empty());
        assert_eq!(found(RuntimeKind::Kubernetes, "20000-20099"), [false]);
    }

    #[test]
    fn a_password_in_the_database_url_is_not_shown() {
        let config = Config::load(None, Some("postgres://panda:hunter2@db/panda".into()), None).unwrap();
        assert_eq!(config.redacted().database.url, "postgres://panda:…@db/panda");
    }
}
