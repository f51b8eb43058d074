//! The proxies that are compared, each with one thread and the same upstream.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use panda_edge::client::EdgeClient;
use panda_edge::local_ca::LocalCa;
use panda_edge::protocol::{Certificate, Route, RouteKind, RouteOptions, Snapshot, Upstream};

use crate::process::{self, Running, free_port, listening};

/// A proxy that runs.
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    pub(crate) process: Running,
    pub(crate) http: u16,
    pub(crate) https: u16,
}

/// Key and certificate for 127.0.0.1, as files.
pub(crate) struct Identity {
    chain: String,
    key: String,
    certificate: Certificate,
}

impl Identity {
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let now = SystemTime::now();
        let ca = LocalCa::load_or_create(&folder.join("ca.key"), &folder.join("ca.pem"), "bench", now)?;
        let hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let leaf = ca.issue(&hosts, now)?;
        let (chain, key) = (folder.join("leaf.pem"), folder.join("leaf.key"));
        fs::write(&chain, &leaf.chain_pem)?;
        fs::write(&key, leaf.key_pem.reveal())?;
        fs::write(folder.join("both.pem"), format!("{}{}", leaf.chain_pem, leaf.key_pem.reveal()))?;
        Ok(Self {
            chain: chain.display().to_string(),
            key: key.display().to_string(),
            certificate: Certificate {
                id: "bench".into(),
                hosts,
                chain_pem: leaf.chain_pem,
                key_pem: leaf.key_pem,
            },
        })
    }
}

/// Starts the upstream that all proxies share: nginx with two files.
pub(crate) async fn upstream(folder: &Path) -> anyhow::Result<(Running, u16)> {
    let root = folder.join("root");
    fs::create_dir_all(&root)?;
    fs::write(root.join("1k"), vec![b'a'; 1 << 10])?;
    fs::write(root.join("20k"), vec![b'b'; 20 << 10])?;
    let port = free_port()?;
    let server = format!(
        "open_file_cache max=10 inactive=1h; sendfile on; tcp_nopush on;\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; root {}; }}",
        root.display()
    );
    let process = nginx(folder, "upstream", &server)?;
    listening(port).await?;
    Ok((process, port))
}

fn nginx(folder: &Path, name: &str, http: &str) -> anyhow::Result<Running> {
    let home = folder.join(name);
    fs::create_dir_all(&home)?;
    let at = home.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .collect::<Vec<_>>()
        .concat();
    let text = format!(
        "worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; {temporary} {http} }}\n"
    );
    let file = home.join("nginx.conf");
    fs::write(&file, text)?;
    process::start("nginx", &["-c".to_owned(), file.display().to_string()], &[])
}

/// Starts nginx as a proxy.
pub(crate) async fn start_nginx(folder: &Path, upstream: u16, identity: &Identity) -> anyhow::Result<Proxy> {
    let (http, https) = (free_port()?, free_port()?);
    let config = format!(
        "upstream app {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{http} backlog=4096; listen 127.0.0.1:{https} ssl backlog=4096;\n\
         ssl_certificate {}; ssl_certificate_key {}; ssl_session_cache shared:s:10m;\n\
         location / {{ proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_pass http://app; }} }}",
        identity.chain, identity.key
    );
    let process = nginx(folder, "proxy", &config)?;
    running("nginx", process, http, https).await
}

/// Starts haproxy.
pub(crate) async fn start_haproxy(folder: &Path, upstream: u16) -> anyhow::Result<Proxy> {
    let (http, https) = (free_port()?, free_port()?);
    let text = format!(
        "global\n nbthread 1\n maxconn 8192\ndefaults\n mode http\n timeout client 60s\n timeout server 60s\n\
         \x20timeout connect 2s\n http-reuse always\n option forwardfor\nfrontend f\n bind 127.0.0.1:{http}\n\
         \x20bind 127.0.0.1:{https} ssl crt {}\n http-request set-header X-Forwarded-Proto http\n default_backend b\n\
         backend b\n server s 127.0.0.1:{upstream} pool-max-conn 256\n",
        folder.join("both.pem").display()
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text)?;
    let process = process::start("haproxy", &["-f".to_owned(), file.display().to_string()], &[])?;
    running("haproxy", process, http, https).await
}

/// Starts caddy.
pub(crate) async fn start_caddy(folder: &Path, upstream: u16, identity: &Identity) -> anyhow::Result<Proxy> {
    let (http, https) = (free_port()?, free_port()?);
    let handle = serde_json::json!([{ "handle": [{
        "handler": "reverse_proxy",
        "upstreams": [{ "dial": format!("127.0.0.1:{upstream}") }],
        "transport": { "protocol": "http", "keep_alive": { "max_idle_conns_per_host": 256 } },
    }] }]);
    let server = |port: u16| {
        serde_json::json!({ "listen": [format!("127.0.0.1:{port}")], "routes": handle,
        "automatic_https": { "disable": true } })
    };
    let mut secure = server(https);
    secure["tls_connection_policies"] = serde_json::json!([{}]);
    let config = serde_json::json!({
        "admin": { "disabled": true },
        "logging": { "logs": { "default": { "level": "ERROR" } } },
        "apps": {
            "http": { "servers": { "plain": server(http), "secure": secure } },
            "tls": { "certificates": { "load_files": [
                { "certificate": identity.chain, "key": identity.key }
            ] } },
        },
    });
    let file = folder.join("caddy.json");
    fs::write(&file, config.to_string())?;
    let args = ["run", "--config", &file.display().to_string()].map(str::to_owned);
    let home = folder.display().to_string();
    let env = [
        ("GOMAXPROCS", "1".to_owned()),
        ("HOME", home.clone()),
        ("XDG_DATA_HOME", home.clone()),
        ("XDG_CONFIG_HOME", home),
    ];
    let process = process::start("caddy", &args, &env)?;
    running("caddy", process, http, https).await
}

/// Starts the edge in a state folder of its own.
pub(crate) async fn start_edge(
    program: &Path,
    folder: &Path,
    workers: usize,
) -> anyhow::Result<(Proxy, EdgeClient)> {
    let (http, https, control) = (free_port()?, free_port()?, folder.join("edge.sock"));
    let mut args = vec![format!("--workers={workers}"), format!("--http=127.0.0.1:{http}")];
    args.push(format!("--https=127.0.0.1:{https}"));
    args.push(format!("--control={}", control.display()));
    args.push(format!("--state-dir={}", folder.join("edge-state").display()));
    args.extend(["--drain-grace=0", "--drain-limit=1"].map(str::to_owned));
    let process = process::start(&program.display().to_string(), &args, &[])?;
    let proxy = running("panda-edge", process, http, https).await?;
    let client = EdgeClient::new(control);
    for _ in 0..200 {
        if client.status().await.is_ok() {
            return Ok((proxy, client));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    anyhow::bail!("the edge's control socket didn't come up")
}

/// Gives the edge the same to do as the others.
pub(crate) async fn configure_edge(
    client: &EdgeClient,
    upstream: u16,
    identity: &Identity,
) -> anyhow::Result<()> {
    let snapshot = Snapshot {
        generation: 1,
        routes: vec![route(0, "127.0.0.1", upstream)],
        certificates: vec![identity.certificate.clone()],
        ..Snapshot::default()
    };
    client.put_snapshot(&snapshot).await.context("configure the edge")?;
    Ok(())
}

/// Returns a route to a port of this machine.
pub(crate) fn route(number: usize, host: &str, port: u16) -> Route {
    Route {
        id: format!("route-{number}"),
        app: format!("app-{number}"),
        process: "web".to_owned(),
        hosts: vec![host.to_owned()],
        tcp_port: None,
        path_prefix: "/".to_owned(),
        kind: RouteKind::App,
        upstreams: vec![Upstream {
            id: format!("instance-{port}"),
            address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(),
        }],
        options: RouteOptions::default(),
    }
}

async fn running(name: &'static str, process: Running, http: u16, https: u16) -> anyhow::Result<Proxy> {
    listening(http).await.with_context(|| format!("start {name}"))?;
    listening(https).await.with_context(|| format!("start {name}"))?;
    Ok(Proxy { name, process, http, https })
}
