//! An exported app runs by `kubectl apply` alone, in a namespace that Panda knows nothing of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use panda_deployer::export::{ExportedApp, ExportedProcess, Exporter};
use panda_deployer::runtime::{FileSpec, ImageUser};
use panda_domain::clock::Clock;
use panda_domain::ids::{IdSource, JobId};
use panda_domain::secret::Secret;
use panda_kubernetes::export::{kustomize, yaml};
use panda_test_support::exported::{fillings, hole, process, shop, text};
use panda_test_support::process::Program;
use panda_test_support::runtime_conformance::{App, Harness, Place};
use panda_test_support::skip::skip;

use super::{cluster, harness, own};

const PATIENCE: Duration = Duration::from_mins(3);
const ODD: &str = "costs $(PORT) $5 'and' \"more\"\nin two lines, of which the second is a good deal longer than eighty  characters: x ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exported_objects_run_on_a_cluster_without_panda() {
    run(yaml, fill_by_kubectl, &["apply", "-f", "."]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exported_kustomization_runs_on_a_cluster_without_panda() {
    run(kustomize, fill_by_files, &["apply", "-k", "."]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_is_every_object_of_an_app_as_the_cluster_has_it_and_can_be_applied() {
    own(|harness, place| Box::pin(manifest(harness, place))).await;
}

async fn manifest(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 2);
    let file = |path: &str, content: &str, secret| {
        let (path, content) = (path.to_owned(), Secret::new(content));
        FileSpec { path, content, secret }
    };
    spec.files = vec![file("/etc/a", "a text", false), file("/etc/b", "very secret", true)];
    spec.env.0.insert("API_TOKEN".to_owned(), Secret::new("very secret"));
    harness.serve(&spec).await?;
    let text = harness.runtime.manifest(&place.key, &place.placement).await?;
    let documents = text.split("---\n").map(serde_saphyr::from_str::<serde_json::Value>);
    let documents = documents.collect::<Result<Vec<_>, _>>()?;
    let mut kinds: Vec<&str> = documents.iter().filter_map(|object| object["kind"].as_str()).collect();
    kinds.sort_unstable();
    ensure!(kinds == ["ConfigMap", "Deployment", "PodDisruptionBudget", "Secret", "Service"], "{kinds:?}");
    ensure!(
        text.contains("a text") && text.contains("<API_TOKEN>") && !text.contains("very secret"),
        "{text}"
    );
    for servers in ["status", "managedFields", "resourceVersion", "uid:", "creationTimestamp"] {
        ensure!(!text.lines().any(|line| line.trim().starts_with(servers)), "{servers}: {text}");
    }
    let (_, namespace) = cluster(place).await?;
    let folder = tempfile::tempdir()?;
    let kubectl = Kubectl { namespace, folder: folder.path().to_owned() };
    kubectl.write("manifest.yaml", &text)?;
    kubectl.run(&["apply", "--dry-run=server", "-f", "manifest.yaml"])?;
    Ok(())
}

/// Fills in the secrets as the README says.
type Fill = fn(&Kubectl) -> Result<()>;

async fn run(exporter: Exporter, fill: Fill, apply: &[&str]) {
    let Some(harness) = harness().await else { return };
    let Some(ingress) = std::env::var("PANDA_TEST_CLUSTER_INGRESS").ok().filter(|at| !at.is_empty()) else {
        skip("kubernetes-ingress", "PANDA_TEST_CLUSTER_INGRESS names no ingress");
        return;
    };
    let id: JobId = IdSource::random(Clock::system()).next();
    let own: String = id.as_str().chars().rev().take(8).collect::<String>().to_ascii_lowercase();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kubectl = Kubectl { namespace: format!("export-{own}"), folder: folder.path().to_owned() };
    let outcome = serves(&kubectl, &harness, (exporter, fill), apply, &ingress).await;
    let removed = kubectl.run(&["delete", "namespace", &kubectl.namespace, "--wait=false"]);
    outcome.expect("it serves");
    removed.expect("the namespace goes");
}

struct Kubectl {
    namespace: String,
    folder: PathBuf,
}

impl Kubectl {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let path = std::env::var_os("PANDA_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into());
        let kubeconfig = std::env::var_os("KUBECONFIG").context("there is a cluster")?;
        let program = Program::new(path).args(["-n", &self.namespace]).args(arguments.iter().copied());
        program.env("KUBECONFIG", kubeconfig).env("HOME", &self.folder).in_folder(&self.folder).output()
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}

fn fill_by_kubectl(kubectl: &Kubectl) -> Result<()> {
    let values = ["--from-literal=API_TOKEN=tok$en \"1\"", "--from-literal=SIGNING_KEY=line 1\nline 2\n"];
    kubectl.run(&["create", "secret", "generic", "shop-secrets", values[0], values[1]]).map(drop)
}

fn fill_by_files(kubectl: &Kubectl) -> Result<()> {
    let refused = kubectl.run(&["apply", "-k", "."]).expect_err("without its secrets it isn't applied");
    ensure!(format!("{refused:#}").contains("API_TOKEN"), "{refused:#}");
    kubectl.write("secrets/API_TOKEN", "tok$en \"1\"")?;
    kubectl.write("secrets/SIGNING_KEY", "line 1\nline 2\n")
}

fn exported(harness: &Harness, host: &str) -> ExportedApp {
    let web = shop().processes.swap_remove(0);
    let worker = ExportedProcess { command: Some(vec!["/web".into()]), ..process("worker", None) };
    ExportedApp {
        image: harness.images[&App::Web].clone(),
        own_registry: false,
        user: ImageUser::Foreign,
        runs_as_root: Some(false),
        processes: vec![ExportedProcess { command: None, replicas: 2, ..web }, worker],
        variables: fillings(&[
            ("API_TOKEN", hole("API_TOKEN")),
            ("ODD", text(ODD)),
            ("ON", text("yes")),
            ("OCTAL", text("0777")),
            ("EXPONENT", text("1e3")),
        ]),
        files: fillings(&[("/etc/app/text", text("a = $HOME\n")), ("/etc/app/key", hole("SIGNING_KEY"))]),
        hosts: vec![(host.to_owned(), "/".to_owned())],
        ..shop()
    }
}

async fn serves(
    kubectl: &Kubectl,
    harness: &Harness,
    (exporter, fill): (Exporter, Fill),
    apply: &[&str],
    ingress: &str,
) -> Result<()> {
    let host = format!("{}.test", kubectl.namespace);
    for file in exporter(&exported(harness, &host))? {
        kubectl.write(&file.path, &file.text)?;
    }
    kubectl.run(&["create", "namespace", &kubectl.namespace])?;
    fill(kubectl)?;
    kubectl.run(&[apply, &["--dry-run=server"]].concat())?;
    kubectl.run(&["apply", "--dry-run=server", "-f", "release/job.yaml"])?;
    kubectl.run(apply)?;
    for process in ["deployment/shop-web", "deployment/shop-worker"] {
        kubectl.run(&["rollout", "status", process, &format!("--timeout={}s", PATIENCE.as_secs())])?;
    }
    let client = reqwest::Client::new();
    let get = async |path: &str| -> Result<String> {
        let url = format!("http://{ingress}{path}");
        let answer = harness
            .until(&url, || async {
                let answer = client.get(&url).header("host", &host).send().await;
                Ok(answer.ok().filter(|answer| answer.status().is_success()))
            })
            .await?;
        Ok(answer.text().await?)
    };
    ensure!(get("/").await? == "v1\n");
    ensure!(get("/id").await? == "10001:10001\n" || get("/id").await?.starts_with("10001:"));
    for (key, value) in
        [("ODD", ODD), ("ON", "yes"), ("OCTAL", "0777"), ("EXPONENT", "1e3"), ("PORT", "8080")]
    {
        ensure!(get(&format!("/env?name={key}")).await? == value, "{key}");
    }
    ensure!(get("/env?name=API_TOKEN").await? == "tok$en \"1\"");
    ensure!(get("/file?path=/etc/app/text").await? == "a = $HOME\n");
    ensure!(get("/file?path=/etc/app/key").await? == "line 1\nline 2\n");
    // No driver takes them for its own.
    let labels =
        kubectl.run(&["get", "all,configmap,secret,ingress,pdb", "-o", "jsonpath={..metadata.labels}"])?;
    ensure!(labels.contains("shop") && !labels.contains("panda"), "{labels}");
    Ok(())
}
