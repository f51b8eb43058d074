//! Certificates by ACME, against Pebble, which refuses nonces at random and asks for the challenge like a real authority.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use panda_e2e::{App, Ground, Installation, Options, image, story_with};
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
