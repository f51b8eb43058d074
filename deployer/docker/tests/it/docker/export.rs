//! An exported app runs by `docker compose` alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use panda_deployer::export::{ExportedApp, ExportedProcess};
use panda_deployer::runtime::ImageUser;
use panda_docker::export::compose;
use panda_domain::ids::{IdSource, JobId};
use panda_domain::release::HealthCheck;
use panda_test_support::exported::{fillings, hole, process, shop, text};
use panda_test_support::process::{Finished, Program};
use panda_test_support::runtime_conformance::{App, Harness};

use super::harness;

const UP: Duration = Duration::from_mins(2);
const ODD: &str = "costs $(PORT) ${HOME} $5 'and' \"more\"\nin two lines ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exported_app_answers_the_same_by_compose_once_its_secrets_are_filled_in() {
    let Some(harness) = harness().await else { return };
    let program = std::env::var_os("PANDA_TEST_COMPOSE").expect("it is set where an engine is").into();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = Project { program, folder: folder.path().to_owned() };
    let outcome = answers(&project, &harness).await;
    let down = project.run(&["down", "--timeout", "1", "--volumes"]).await.expect("it can be taken down");
    outcome.expect("it answers");
    assert_eq!(down.code, Some(0), "{}", down.stderr);
}

struct Project {
    program: PathBuf,
    folder: PathBuf,
}

impl Project {
    async fn run(&self, arguments: &[&str]) -> Result<Finished> {
        let engine = std::env::var("PANDA_TEST_DOCKER").context("there is an engine")?;
        let program = Program::new(&self.program).args(arguments.iter().copied()).in_folder(&self.folder);
        program.env("DOCKER_HOST", engine).env("HOME", &self.folder).run(UP).await
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        std::fs::write(self.folder.join(path), text).with_context(|| format!("write {path}"))
    }
}

fn exported(harness: &Harness) -> Result<ExportedApp> {
    let id: JobId = IdSource::random(panda_domain::clock::Clock::system()).next();
    let own = id.as_str().chars().rev().take(8).collect::<String>().to_ascii_lowercase();
    let health = HealthCheck { path: Some("/healthz".into()), ..HealthCheck::default() };
    let web = ExportedProcess { command: None, replicas: 2, health, ..process("web", Some(8080)) };
    let worker = ExportedProcess { command: Some(vec!["/web".into()]), ..process("worker", None) };
    Ok(ExportedApp {
        name: format!("shop-{own}").parse()?,
        image: harness.images[&App::Web].clone(),
        own_registry: false,
        user: ImageUser::Built,
        processes: vec![web, worker],
        variables: fillings(&[("API_TOKEN", hole("API_TOKEN")), ("ODD", text(ODD)), ("ON", text("yes"))]),
        files: fillings(&[("/etc/app/text", text("a = $HOME\n")), ("/etc/app/key", hole("SIGNING_KEY"))]),
        release_command: None,
        ..shop()
    })
}

async fn answers(project: &Project, harness: &Harness) -> Result<()> {
    let app = exported(harness)?;
    for file in compose(&app)? {
        ensure!(Path::new(&file.path).components().count() == 1, "{}", file.path);
        project.write(&file.path, &file.text)?;
    }
    // Without its secrets it doesn't start, and says why.
    let refused = project.run(&["up", "-d"]).await?;
    ensure!(refused.code != Some(0) && refused.stderr.contains("API_TOKEN"), "{}", refused.stderr);

    let [first, last] = free_ports()?;
    let env = format!(
        "API_TOKEN='tok$en \"1\"'\nSIGNING_KEY='line 1\nline 2\n'\nPUBLISH=127.0.0.1:{first}-{last}\n"
    );
    project.write(".env", &env)?;
    let up = project.run(&["up", "-d", "--wait"]).await?;
    ensure!(up.code == Some(0), "{}", up.stderr);
    for port in [first, last] {
        let get = async |path: &str| -> Result<String> {
            let url = format!("http://127.0.0.1:{port}{path}");
            let answer = harness.until(&url, || async { Ok(reqwest::get(&url).await.ok()) }).await?;
            Ok(answer.error_for_status()?.text().await?)
        };
        ensure!(get("/").await? == "v1\n");
        ensure!(get("/id").await? == "10001:10001\n");
        ensure!(get("/env?name=ODD").await? == ODD, "{:?}", get("/env?name=ODD").await?);
        ensure!(get("/env?name=ON").await? == "yes");
        ensure!(get("/env?name=API_TOKEN").await? == "tok$en \"1\"");
        ensure!(get("/file?path=/etc/app/text").await? == "a = $HOME\n");
        ensure!(get("/file?path=/etc/app/key").await? == "line 1\nline 2\n");
    }
    // Nobody's driver takes its containers for its own.
    let ours = harness.runtime.inventory().await?;
    ensure!(ours.environments.is_empty() && ours.workloads.is_empty() && ours.tasks.is_empty(), "{ours:?}");
    Ok(())
}

/// Returns two neighbouring ports that nobody listens on.
fn free_ports() -> Result<[u16; 2]> {
    for _ in 0..100 {
        let first = std::net::TcpListener::bind("127.0.0.1:0")?;
        let port = first.local_addr()?.port();
        if port < u16::MAX && std::net::TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok([port, port + 1]);
        }
    }
    anyhow::bail!("no two neighbouring ports are free")
}
