//! Certificates by ACME, against Pebble, which refuses nonces at random and asks for the challenge like a real authority; and
//! certificates that people give.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use panda_api_types::{Domain, Page};
use panda_e2e::{
    App, Cluster, Ground, Installation, Options, cluster_story_with, image, on_both_runtimes, story_with,
};
use panda_test_support::prober::{Prober, Target};
use panda_test_support::process::{Daemon, Program};
use serde_json::json;

/// Pebble and its DNS server; they end with the handle.
struct Authority {
    directory: String,
    ca_file: String,
    management: SocketAddr,
    _processes: [Daemon; 2],
}

fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl Authority {
    /// Starts one that looks for challenges at the edge's HTTP port.
    async fn start(panda: &Installation) -> anyhow::Result<Self> {
        let folder = panda.folder.join("pebble");
        fs::create_dir_all(&folder)?;
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let path = |name: &str| folder.join(name).display().to_string();
        fs::write(path("cert.pem"), own.cert.pem())?;
        fs::write(path("key.pem"), own.signing_key.serialize_pem())?;
        let (listen, management, dns, control) = (free()?, free()?, free()?, free()?);
        let config = json!({ "pebble": {
            "listenAddress": listen, "managementListenAddress": management,
            "certificate": path("cert.pem"), "privateKey": path("key.pem"),
            "httpPort": panda.http.port(), "tlsPort": panda.https.port(),
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        } });
        fs::write(path("config.json"), config.to_string())?;
        let names = Program::new(Ground::program("PANDA_TEST_CHALLTESTSRV")?)
            .args(["-dnsserver", &dns.to_string(), "-management", &control.to_string(), "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""])
            .start("challtestsrv", Path::new(&path("names.log")))?;
        let pebble = Program::new(Ground::program("PANDA_TEST_PEBBLE")?)
            .args(["-config", &path("config.json"), "-dnsserver", &dns.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "10")
            .start("pebble", Path::new(&path("pebble.log")))?;
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            anyhow::ensure!(
                begun.elapsed() < Duration::from_secs(30),
                "Pebble doesn't listen: {}",
                pebble.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self {
            directory: format!("https://127.0.0.1:{}/dir", listen.port()),
            ca_file: path("cert.pem"),
            management,
            _processes: [names, pebble],
        })
    }

    /// Returns the certificate that its chains end in.
    async fn root(&self) -> anyhow::Result<String> {
        let own = reqwest::Certificate::from_pem(&fs::read(&self.ca_file)?)?;
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([own]).build()?;
        Ok(client
            .get(format!("https://127.0.0.1:{}/roots/0", self.management.port()))
            .send()
            .await?
            .text()
            .await?)
    }
}

#[test]
fn an_app_on_a_public_domain_gets_a_certificate_by_acme_and_keeps_it_without_a_control_plane() {
    let domain = [("PANDA_APPS_DOMAIN".to_owned(), "apps.example".to_owned())];
    story_with(
        |_| Ok(Options { settings: domain.into(), ..Options::default() }),
        async |panda| {
            let authority = Authority::start(panda).await?;
            panda.terminate_server().await?;
            panda.set("PANDA_CERTIFICATES__ACME_DIRECTORY", &authority.directory);
            panda.set("PANDA_CERTIFICATES__ACME_CA_FILE", &authority.ca_file);
            panda.set("PANDA_CERTIFICATES__ACME_EMAIL", "owner@example.com");
            panda.start_server().await?;

            let app = App::create(panda, "web").await?;
            assert!(app.url.starts_with("https://web.apps.example:"), "{}", app.url);
            app.deploy_live(&image(panda, "v1")).await?;
            let target =
                Target { url: app.url.clone(), address: panda.https, ca: Some(authority.root().await?) };
            let prober = Prober::start(&target, 50)?;
            prober.until_answers("v1", Duration::from_mins(2)).await?;
            drop(prober);

            panda.kill9_server();
            panda.kill9_edge();
            panda.start_edge().await?;
            let prober = Prober::start(&target, 50)?;
            prober.until_answers("v1", Duration::from_secs(10)).await?;
            tokio::time::sleep(Duration::from_secs(1)).await; // some fifty requests
            prober.stop().assert_only("v1");
            Ok(())
        },
    );
}

/// The settings by which a cluster's cert-manager orders from the cluster's Pebble.
fn by_the_cluster() -> anyhow::Result<Vec<(String, String)>> {
    let get = |name: &str| std::env::var(name).with_context(|| format!("{name} isn't set"));
    let ingress = Cluster::of_the_run().context("there is a cluster")?.https.ip();
    Ok([
        ("CERTIFICATES__ACME_DIRECTORY", get("PANDA_TEST_CLUSTER_ACME")?),
        ("CERTIFICATES__ACME_CA_FILE", get("PANDA_TEST_CLUSTER_ACME_CA")?),
        ("CERTIFICATES__ACME_EMAIL", "owner@example.com".to_owned()),
        ("RESOLVER", get("PANDA_TEST_CLUSTER_RESOLVER")?),
        ("APPS_ADDRESSES", ingress.to_string()),
    ]
    .map(|(name, value)| (format!("PANDA_{name}"), value))
    .into())
}

/// The certificate that the cluster's authority ends its chains in.
async fn cluster_root() -> anyhow::Result<String> {
    let own = fs::read(std::env::var("PANDA_TEST_CLUSTER_ACME_CA")?)?;
    let client = reqwest::Client::builder().no_proxy();
    let client = client.tls_certs_only([reqwest::Certificate::from_pem(&own)?]).build()?;
    Ok(client.get(std::env::var("PANDA_TEST_CLUSTER_ACME_ROOT")?).send().await?.text().await?)
}

/// Tells the cluster's DNS something about a host, or to forget it.
async fn say(verb: &str, words: serde_json::Value) -> anyhow::Result<()> {
    let dns = std::env::var("PANDA_TEST_CLUSTER_DNS")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    client.post(format!("{dns}/{verb}")).body(words.to_string()).send().await?.error_for_status()?;
    Ok(())
}

async fn until_certificate(
    panda: &Installation,
    app: &App<'_>,
    is_so: impl Fn(&Domain) -> bool,
) -> anyhow::Result<Domain> {
    let begun = Instant::now();
    loop {
        let domains: Page<Domain> = panda.api().get(&app.path("/domains")).await?;
        let given = domains.items.into_iter().next().context("every app has a host")?;
        if is_so(&given) {
            return Ok(given);
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_mins(3), "its certificate stays {given:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[test]
fn on_a_cluster_the_certificate_is_ordered_by_cert_manager_and_its_state_is_told() {
    cluster_story_with(
        |_| Ok(Options { settings: by_the_cluster()?, ..Options::default() }),
        async |panda| {
            let app = App::create(panda, "web").await?;
            panda_e2e::app::live(app.deploy(&image(panda, "v1")).await?)?;
            let issued = until_certificate(panda, &app, |domain| domain.certificate == "issued").await?;
            assert!(issued.certificate_detail.is_some(), "until when: {issued:?}");
            let target =
                Target { url: app.url.clone(), address: panda.https, ca: Some(cluster_root().await?) };
            let prober = Prober::start(&target, 20)?;
            prober.until_answers("v1", Duration::from_secs(20)).await?;
            Ok(())
        },
    );
}

#[test]
fn no_certificate_is_ordered_for_a_host_that_leads_elsewhere_until_it_leads_here() {
    cluster_story_with(
        |_| Ok(Options { settings: by_the_cluster()?, ..Options::default() }),
        async |panda| {
            let here = panda.https.ip().to_string();
            let host = App::create(panda, "shown").await?.url;
            let host = host.trim_start_matches("https://").replacen("shown", "lost", 1);
            say("add-a", json!({ "host": format!("{host}."), "addresses": ["10.255.255.1"] })).await?;
            let app = App::create(panda, "lost").await?;
            panda_e2e::app::live(app.deploy(&image(panda, "v1")).await?)?;
            let failed = until_certificate(panda, &app, |domain| domain.certificate == "failed").await?;
            let reason = failed.certificate_detail.unwrap_or_default();
            assert!(reason.contains("10.255.255.1") && reason.contains(&here), "{reason}");
            let cluster = panda.cluster.as_ref().context("there is a cluster")?;
            let ordered = cluster.kubectl(&["get", "certificates", "-A", "-o", "jsonpath={..dnsNames}"])?;
            assert!(!ordered.contains(&host), "ordered all the same: {ordered}");

            say("clear-a", json!({ "host": format!("{host}.") })).await?;
            say("add-a", json!({ "host": format!("{host}."), "addresses": [here] })).await?;
            until_certificate(panda, &app, |domain| domain.certificate == "issued").await?;
            say("clear-a", json!({ "host": format!("{host}.") })).await?;
            Ok(())
        },
    );
}

/// Starts a DNS server that the installation asks from now on; returns its control address. It ends with the handle.
async fn start_dns(panda: &Installation) -> anyhow::Result<(SocketAddr, Daemon)> {
    let (dns, control) = (free()?, free()?);
    let names = Program::new(Ground::program("PANDA_TEST_CHALLTESTSRV")?)
        .args(["-dnsserver", &dns.to_string(), "-management", &control.to_string()])
        .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""])
        .start("challtestsrv", &panda.folder.join("names.log"))?;
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(control).await.is_err() {
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(30), "the DNS doesn't start: {}", names.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panda.terminate_server().await?;
    panda.set("PANDA_RESOLVER", &dns.to_string());
    panda.start_server().await?;
    Ok((control, names))
}

/// Adds a domain to the app and proves it by its record.
async fn prove(panda: &Installation, dns: SocketAddr, app: &App<'_>, host: &str) -> anyhow::Result<Domain> {
    let added: Domain = panda.api().post(&app.path("/domains"), &json!({ "host": host })).await?;
    let proof = added.records.iter().find(|record| record.kind == "TXT").context("one is the proof")?;
    let record = json!({ "host": format!("{}.", proof.name), "value": proof.expected });
    let client = reqwest::Client::builder().no_proxy().build()?;
    let said = client.post(format!("http://{dns}/set-txt")).body(record.to_string()).send().await?;
    said.error_for_status()?;
    let verify = app.path(&format!("/domains/{host}/verify"));
    let proven: Domain = panda.api().post(&verify, &json!({})).await?;
    anyhow::ensure!(proven.verified, "{proven:?}");
    Ok(proven)
}

/// Writes a wildcard's chain and key into the folder; returns the authority that signed it, and the key.
fn issue(folder: &Path, zone: &str) -> anyhow::Result<(String, String)> {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate()?)?;
    let key = rcgen::KeyPair::generate()?;
    let leaf = rcgen::CertificateParams::new(vec![format!("*.{zone}")])?.signed_by(&key, &authority)?;
    fs::write(folder.join("fullchain.pem"), format!("{}{}", leaf.pem(), authority.pem()))?;
    fs::write(folder.join("privkey.pem"), key.serialize_pem())?;
    Ok((authority.pem(), key.serialize_pem()))
}

async fn a_certificate_that_people_give_is_served_until_they_take_it_away(
    panda: &Installation,
) -> anyhow::Result<()> {
    let (dns, _names) = start_dns(panda).await?;
    let app = App::create(panda, "web").await?;
    app.deploy_live(&image(panda, "v1")).await?;
    let zone = format!("own-{}.example", std::process::id());
    let domain = prove(panda, dns, &app, &format!("www.{zone}")).await?;
    let served_by = |ca: Option<String>| {
        let target = Target { url: domain.url.clone(), address: panda.https, ca };
        Prober::start(&target, 20)
    };
    let before = served_by(panda.ca.clone())?;
    before.until_answers("v1", Duration::from_secs(30)).await?;
    drop(before);

    let folder = panda.folder.join("given");
    fs::create_dir_all(&folder)?;
    let (authority, key) = issue(&folder, &zone)?;
    let wildcard = format!("*.{zone}");
    let files = ["--cert", "fullchain.pem", "--key", "privkey.pem"];
    let mut said =
        panda.cli_ok(&folder, &[&["certs", "add", &wildcard, "-a", "web"][..], &files[..]].concat()).await?;
    let given = served_by(Some(authority))?;
    given.until_answers("v1", Duration::from_secs(30)).await?;
    for verb in [&["certs", "list"][..], &["certs", "show", &wildcard], &["domains", "list"], &["events"]] {
        said += &panda.cli_ok(&folder, &[verb, &["-a", "web"][..]].concat()).await?;
    }
    anyhow::ensure!(said.contains(&wildcard) && said.contains("own"), "{said}");
    let secret = key.lines().nth(1).context("a key has lines")?.trim().to_owned();
    anyhow::ensure!(!said.contains(&secret) && !panda.server_log().contains(&secret), "the key was told");

    // It is kept, not only in memory.
    panda.kill9_server();
    panda.start_server().await?;
    given.until_answers("v1", Duration::from_secs(30)).await?;
    drop(given);

    panda.cli_ok(&folder, &["certs", "remove", &wildcard, "--confirm", "-a", "web"]).await?;
    let after = served_by(panda.ca.clone())?;
    after.until_answers("v1", Duration::from_secs(30)).await?;
    Ok(())
}

on_both_runtimes!(a_certificate_that_people_give_is_served_until_they_take_it_away);
