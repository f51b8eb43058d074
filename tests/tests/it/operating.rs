//! What an operator does: installing, upgrading, going back, backing up, taking away; while an app is being asked.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use panda_e2e::{DockerHost, Source, host_story};

use crate::rolling::slow_source;

#[test]
fn an_upgrade_that_is_not_healthy_goes_back_by_itself_and_no_request_fails() {
    host_story(async |mut host| {
        installed(&mut host).await?;
        let prober = host.probe("web")?;
        let (good, elsewhere) = (
            host.variant("panda-server", "good", "LABEL version=2")?,
            host.variant("panda-server", "elsewhere", "ENV PANDA_LISTEN__API=127.0.0.1:9")?,
        );
        let said = host.server_ok(&["upgrade", "--image", &good]).await?;
        assert!(said.contains(&good) && said.contains("the API was away for"), "{said}");

        // It looks at everything, refuses, and nothing was touched.
        let refuses = host.variant("panda-server", "refuses", "ENV PANDA_LISTEN__API=0.0.0.0:80")?;
        let done = host.server(&["upgrade", "--image", &refuses]).await?;
        assert_eq!(done.code, Some(1));
        assert!(done.stderr.contains("looked at this installation and refused"), "{}", done.stderr);

        // It starts and never gets ready where it is asked.
        let done = host.server(&["upgrade", "--image", &elsewhere, "--wait", "3"]).await?;
        assert_eq!(done.code, Some(1));
        assert!(done.stderr.contains("the old one is back and ready"), "{}", done.stderr);
        assert!(running(&host, "server")?.ends_with(&good));
        host.cli_ok(&["status", "-a", "web"]).await?;

        host.server_ok(&["upgrade", "--rollback"]).await?;
        assert!(running(&host, "server")?.ends_with(&format!("panda-server:{}", host.name)));

        let edge = host.variant("panda-edge", "next", "LABEL version=2")?;
        host.server_ok(&["upgrade", "--edge-image", &edge]).await?;
        assert!(running(&host, "edge")?.ends_with(&edge));
        prober.stop().assert_no_failures();
        Ok(())
    });
}

#[test]
fn an_upgrade_and_the_way_back_take_a_deploy_that_is_under_way_along_on_postgresql() {
    host_story(async |mut host| {
        host.keep_state_in_postgres()?;
        installed(&mut host).await?;
        let prober = host.probe("web")?;
        let good = host.variant("panda-server", "good", "LABEL version=2")?;
        let source = slow_source("v2")?;
        let folder = source.path().display().to_string();
        for (version, upgrade) in
            [("v2", ["upgrade", "--image", &good].as_slice()), ("v3", &["upgrade", "--rollback"])]
        {
            source.write("version.txt", version)?;
            host.cli_ok(&["deploy", &folder, "--app", "web", "--detach", "--yes"]).await?;
            host.server_ok(upgrade).await?;
            let status = host.cli_ok(&["status", "-a", "web"]).await?;
            let goes_on = ["queued", "building", "releasing", "rolling"];
            assert!(goes_on.iter().any(|state| status.contains(state)), "it was over before: {status}");
            host.cli_ok(&["status", "-a", "web", "--wait"]).await?;
            prober.until_answers(version, Duration::from_secs(10)).await?;
        }
        let report = prober.stop();
        report.assert_no_failures();
        let releases = host.cli_ok(&["releases", "-a", "web", "--json"]).await?;
        assert_eq!(releases.matches("\"number\"").count(), 3, "{releases}");
        Ok(())
    });
}

#[test]
fn an_installation_is_restored_from_its_backup_and_taken_away_without_a_trace() {
    host_story(async |mut host| {
        installed(&mut host).await?;
        host.cli_ok(&["env", "set", "-a", "web", "--secret", "TOKEN=s3cr3t-of-the-test", "--no-deploy"])
            .await?;
        let said = host.server_ok(&["doctor"]).await?;
        assert!(said.contains("0 failed"), "{said}");
        let file = |name: &str| host.data.with_file_name(name).display().to_string();
        let (backup, passphrase) = (file("backup"), file("passphrase"));
        std::fs::write(&passphrase, "correct horse battery\n")?;
        host.server_ok(&["backup", "--to", &backup, "--passphrase-file", &passphrase]).await?;
        assert!(!std::fs::read_to_string(&backup)?.contains("s3cr3t-of-the-test"));

        let prober = host.probe("web")?;
        host.docker.call(&["stop", &format!("{}-server", host.name)])?;
        std::fs::remove_dir_all(host.data.join("db"))?;
        std::fs::remove_file(host.data.join("keys/master.key"))?;
        host.server_ok(&["restore", "--overwrite", "--from", &backup, "--passphrase-file", &passphrase])
            .await?;
        host.server_ok(&["install"]).await?;
        let status = host.cli_ok(&["status", "-a", "web"]).await?;
        assert!(status.contains("running"), "{status}");
        prober.stop().assert_no_failures();

        let name = host.name.clone();
        assert_eq!(host.server(&["uninstall", "--purge", "--confirm", "other"]).await?.code, Some(1));
        host.server_ok(&["uninstall", "--purge", "--confirm", &name]).await?;
        assert_eq!(host.containers()?, Vec::<String>::new());
        assert!(!host.data.exists());
        Ok(())
    });
}

#[test]
fn a_taken_port_stops_an_installation_before_anything_is_made() {
    host_story(async |host| {
        let holder = TcpListener::bind(host.api)?;
        let done = host.install().await?;
        assert_eq!(done.code, Some(1));
        let expected = format!("port {} for the server is held by", host.api.port());
        assert!(done.stderr.contains(&expected) && done.stderr.contains("--api-port"), "{}", done.stderr);
        assert_eq!(host.containers()?, Vec::<String>::new());
        assert!(!host.data.exists());
        assert!(!host.data.with_file_name("server.toml").exists());
        drop(holder);
        Ok(())
    });
}

#[test]
fn an_installation_from_before_the_registrys_login_works_on_and_gets_it_by_install() {
    host_story(async |mut host| {
        installed(&mut host).await?;
        assert_eq!(registry_answers(&host).await?, 401, "it serves nobody without a token");
        let key = std::fs::metadata(host.data.join("keys/registry.key"))?.permissions().mode();
        assert_eq!(key & 0o777, 0o600);
        let source = Source::sample("hello-node")?;
        let folder = source.path().display().to_string();
        host.cli_ok(&["deploy", &folder, "--app", "hello", "--create", "--yes"]).await?;

        // The container that a version without tokens makes, over the same images.
        open_registry(&host)?;
        let said = host.server_ok(&["doctor"]).await?;
        assert!(
            said.contains("registry login") && said.contains("can read and replace all images"),
            "{said}"
        );
        source.change("server.js", "'v1'", "'v2'")?;
        host.cli_ok(&["deploy", &folder, "--app", "hello", "--yes"]).await?;

        let prober = host.probe("hello")?;
        let said = host.server_ok(&["install"]).await?;
        assert!(said.contains("registry: replaced") && said.contains("server: runs"), "{said}");
        assert_eq!(registry_answers(&host).await?, 401);
        source.change("server.js", "'v2'", "'v3'")?;
        host.cli_ok(&["deploy", &folder, "--app", "hello", "--yes"]).await?;
        let said = host.server_ok(&["doctor"]).await?;
        assert!(said.contains("serves nobody without a token"), "{said}");
        prober.stop().assert_no_failures();
        Ok(())
    });
}

#[test]
fn going_back_to_a_version_that_knows_no_login_takes_it_off_the_registry_and_says_so() {
    host_story(async |mut host| {
        installed(&mut host).await?;
        let older = host.older_server("older", "LABEL version=0")?;
        let broken = host.older_server("broken", "ENV PANDA_LISTEN__API=127.0.0.1:9")?;
        let prober = host.probe("web")?;

        // It gets the registry that it can use, and when it isn't healthy the login comes back with the one before.
        let done = host.server(&["upgrade", "--image", &broken, "--wait", "3"]).await?;
        assert_eq!(done.code, Some(1));
        assert!(done.stderr.contains("the old one is back and ready"), "{}", done.stderr);
        assert_eq!(registry_answers(&host).await?, 401);

        let said = host.server_ok(&["upgrade", "--image", &older]).await?;
        assert!(said.contains("warning: that version knows no login for the registry"), "{said}");
        assert!(running(&host, "server")?.ends_with(&older));
        assert_eq!(registry_answers(&host).await?, 200);

        let said = host.server_ok(&["upgrade", "--rollback"]).await?;
        assert!(!said.contains("knows no login"), "{said}");
        host.server_ok(&["install"]).await?;
        assert_eq!(registry_answers(&host).await?, 401);
        prober.stop().assert_no_failures();
        Ok(())
    });
}

/// Returns what the registry answers to somebody without a token. One that was just replaced takes a moment to listen.
async fn registry_answers(host: &DockerHost) -> anyhow::Result<u16> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let begun = Instant::now();
    loop {
        match client.get(format!("http://{}/v2/_catalog", host.registry)).send().await {
            Ok(answer) => return Ok(answer.status().as_u16()),
            Err(error) if begun.elapsed() > Duration::from_secs(20) => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Replaces the registry by one that serves everybody.
fn open_registry(host: &DockerHost) -> anyhow::Result<()> {
    let (name, network) = (format!("{}-registry", host.name), format!("{}-build", host.name));
    host.docker.call(&["rm", "-f", &name])?;
    let label = format!("dev.panda.platform={}", host.name);
    let published = format!("{}:5000", host.registry);
    let images = format!("{name}:/var/lib/registry");
    let config = format!("{}:/registry.yml:ro", host.data.join("platform/registry.yml").display());
    let mut arguments = vec!["run", "-d", "--name", &name, "--label", &label, "--network", &network];
    arguments.extend(["--network-alias", "registry", "-p", &published, "-v", &images, "-v", &config]);
    arguments.extend(["registry:2", "/registry.yml"]);
    host.docker.call(&arguments)?;
    Ok(())
}

/// Installs, claims, and puts an app up. A second installation changes nothing.
async fn installed(host: &mut DockerHost) -> anyhow::Result<()> {
    let done = host.install().await?;
    anyhow::ensure!(done.code == Some(0), "{}{}", done.stdout, done.stderr);
    host.claim(&done.stdout).await?;
    let again = host.server_ok(&["install"]).await?;
    for component in ["registry", "buildkitd", "edge", "server"] {
        assert!(again.contains(&format!("{component}: runs")), "{again}");
    }
    let image = panda_e2e::Ground::or_skip("installed").map(|ground| format!("{}/web:v1", ground.images));
    let image = image.unwrap_or_default();
    host.cli_ok(&["deploy", "--image", &image, "--app", "web", "--create", "--replicas", "2", "--yes"])
        .await?;
    Ok(())
}

/// Returns `name image` of a component's container.
fn running(host: &DockerHost, component: &str) -> anyhow::Result<String> {
    let name = format!("{}-{component} ", host.name);
    let found = host.containers()?.into_iter().find(|line| line.starts_with(&name));
    found.ok_or_else(|| anyhow::anyhow!("no container {name}"))
}
