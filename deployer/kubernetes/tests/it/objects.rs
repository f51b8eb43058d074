//! Every object as YAML. A change of a workload's or a task's pod needs a new `deployment::TEMPLATE`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use panda_deployer::runtime::{
    CertificateSpec, EnvironmentKey, EnvironmentSpec, FileSpec, ImageUser, PortSpec, PullImage, SecretEnv,
    TaskKey, TaskSpec, WorkloadKey, WorkloadSpec,
};
use panda_domain::autoscale::Autoscale;
use panda_domain::formation::Size;
use panda_domain::ids::{Id, IdSource, PlacementId};
use panda_domain::names::EnvironmentName;
use panda_domain::release::{HealthCheck, HttpConfig, Shutdown};
use panda_domain::secret::Secret;
use panda_kubernetes::objects::container::RunsAs;
use panda_kubernetes::objects::deployment::Workload;
use panda_kubernetes::objects::ingress::{Routed, Rule};
use panda_kubernetes::objects::{
    Owner, Place, autoscaler, certificate, cluster_issuer, config_map, cron_job, deployment,
    disruption_budget, files, ingress, job, limit_range, namespace, namespace_name, network_policy,
    published, published_name, quota, secret, service, service_account, volume_claim, workload_name,
};
use panda_kubernetes::{Acme, KubernetesConfig, PortService};
use serde::Serialize;

fn yaml(object: &impl Serialize) -> String {
    serde_saphyr::to_string(object).expect("an object is plain data")
}

fn owner() -> Owner {
    Owner { installation: "acme".to_owned(), labels: BTreeMap::from([("cost-center".into(), "42".into())]) }
}

fn environment() -> EnvironmentSpec {
    let ids = IdSource::counted();
    let key = EnvironmentKey { team: ids.next(), environment: ids.next() };
    EnvironmentSpec { key, name: "preview/pr-12".parse().expect("it is one") }
}

fn image() -> PullImage {
    let digest = format!("sha256:{:064x}", 7).parse().expect("it is one");
    PullImage { repository: "registry.example/acme/shop".to_owned(), digest, login: None }
}

fn text_and_secret() -> Vec<FileSpec> {
    let file = |path: &str, text: &str, secret| {
        let (path, content) = (path.to_owned(), Secret::new(text));
        FileSpec { path, content, secret }
    };
    vec![file("/etc/app/config.toml", "a = 1\n", false), file("/etc/app/key", "very secret", true)]
}

fn spec() -> WorkloadSpec {
    let ids = IdSource::counted();
    let variables = [("API_TOKEN", "very secret"), ("PORT", "8080")];
    WorkloadSpec {
        key: WorkloadKey {
            environment: environment().key,
            placement: ids.next(),
            process: "web".parse().expect("it is one"),
            release: ids.next(),
            revision: 0,
        },
        app: "shop".parse().expect("it is one"),
        environment_name: EnvironmentName::production(),
        release_number: 12,
        image: image(),
        user: ImageUser::Built,
        command: Some(["node", "server.js"].map(str::to_owned).to_vec()),
        env: SecretEnv(variables.map(|(name, value)| (name.to_owned(), Secret::new(value))).into()),
        files: text_and_secret(),
        port: Some(8080),
        health: HealthCheck { path: Some("/healthz".into()), liveness: true, ..HealthCheck::default() },
        shutdown: Shutdown::default(),
        replicas: 3,
        autoscale: None,
        size: Size { cpu_millis: 500, memory_bytes: 256 << 20 },
        discoverable: true,
    }
}

fn place(name: &str) -> Place {
    let namespace = namespace_name(&environment(), 0);
    Place { namespace, name: name.to_owned(), labels: owner().environment(&environment().key) }
}

fn workload_place(spec: &WorkloadSpec) -> Place {
    Place { labels: owner().workload(spec), ..place(&workload_name(spec)) }
}

fn workload(spec: &WorkloadSpec, runs_as: RunsAs) -> String {
    let variables: Vec<String> = spec.env.0.keys().cloned().collect();
    let workload = Workload {
        place: workload_place(spec),
        spec,
        variables: &variables,
        runs_as,
        requests: KubernetesConfig::new("acme").requests,
        least_drain_s: 3,
        login: Some("login"),
    };
    yaml(&deployment::deployment(&workload, &files::keyed(&spec.files).expect("the paths are fine")))
}

#[test]
fn an_environment_is_a_namespace_with_bounds_and_closed_doors() {
    let config = KubernetesConfig::new("acme");
    let name = namespace_name(&environment(), 0);
    assert_ne!(name, namespace_name(&environment(), 1));
    insta::assert_snapshot!("namespace", yaml(&namespace::namespace(&owner(), &environment(), &name)));
    let bounds = [
        yaml(&quota::quota(&place("panda"), &config.quota, PortService::NodePort, 0)),
        yaml(&limit_range::limit_range(&place("panda"), config.default_limits, config.requests)),
        yaml(&service_account::service_account(&place("panda"))),
    ];
    insta::assert_snapshot!("bounds", bounds.join("---\n"));
    let mut egress = config.egress;
    egress.open.push("10.1.2.3/32".to_owned());
    let policies = network_policy::network_policies(&place("panda"), &egress);
    insta::assert_snapshot!("network-policies", policies.iter().map(yaml).collect::<Vec<_>>().join("---\n"));
}

#[test]
fn an_image_of_ours_runs_with_no_capability_as_a_user_of_its_own() {
    insta::assert_snapshot!("deployment", workload(&spec(), RunsAs::Ours));
}

#[test]
fn a_foreign_worker_that_runs_as_root_keeps_what_it_needs_to_step_down() {
    let worker = WorkloadSpec {
        user: ImageUser::Foreign,
        command: None,
        files: Vec::new(),
        port: None,
        shutdown: Shutdown { signal: "SIGINT".to_owned(), ..Shutdown::default() },
        ..spec()
    };
    insta::assert_snapshot!("deployment-of-root-worker", workload(&worker, RunsAs::Root));
}

#[test]
fn values_lie_in_the_secret_and_nowhere_else() {
    let spec = spec();
    let keyed = files::keyed(&spec.files).expect("the paths are fine");
    let place = workload_place(&spec);
    let data = [
        yaml(&secret::secret(&place, &spec.env, &keyed)),
        yaml(&config_map::config_map(&place, &keyed)),
        yaml(&secret::login(&place.named("login"), "registry.example", "panda", "a token")),
    ];
    insta::assert_snapshot!("data", data.join("---\n"));
    let deployment = workload(&spec, RunsAs::Ours);
    assert!(deployment.contains("API_TOKEN") && !deployment.contains("very secret"));
}

#[test]
fn what_leads_to_an_app_is_a_service_and_an_ingress() {
    let ids = IdSource::counted();
    let placement: PlacementId = ids.next();
    let labels = owner().route(&environment().key, &placement, "shop");
    let place = Place { labels, ..place("shop") };
    let rule = |host: &str, path: &str| Rule { host: host.into(), path: path.into(), service: "shop".into() };
    let rules = [rule("shop.example", "/"), rule("shop.example", "/api"), rule("www.example", "/")];
    let hosts = BTreeSet::from(["shop.example".to_owned()]);
    let certificates = BTreeMap::from([("tls-shop-1".to_owned(), hosts)]);
    let of = |controller| {
        yaml(&ingress::ingress(&Routed {
            place: place.clone(),
            rules: &rules,
            certificates: &certificates,
            class: Some("public"),
            controller,
            http: &HttpConfig::default(),
        }))
    };
    insta::assert_snapshot!("service", yaml(&service::service(&place, &spec().key, 8080)));
    insta::assert_snapshot!("ingress", of("traefik.io/ingress-controller"));
    assert!(of("k8s.io/ingress-nginx").contains("nginx.ingress.kubernetes.io/ssl-redirect"));
}

#[test]
fn certificates_are_given_or_ordered() {
    let given = CertificateSpec {
        hosts: vec!["shop.example".into()],
        chain_pem: "CHAIN".into(),
        key_pem: Secret::new("KEY"),
    };
    let acme = Acme {
        server: "https://acme.example/dir".into(),
        email: Some("ops@example.com".into()),
        ca_bundle: None,
    };
    let objects = [
        yaml(&secret::certificate(&place("tls-shop"), &given)),
        yaml(&certificate::certificate(&place("tls-shop"), "shop.example", "panda")),
        yaml(&cluster_issuer::cluster_issuer(&owner().labels, "panda", &acme, "public")),
    ];
    insta::assert_snapshot!("certificates", objects.join("---\n"));
}

#[test]
fn a_task_runs_once_and_may_come_again_at_its_times() {
    let spec = TaskSpec {
        key: TaskKey { environment: environment().key, task: Id::from_bits(77) },
        placement: Id::from_bits(1),
        app: "shop".parse().expect("it is one"),
        image: image(),
        user: ImageUser::Foreign,
        command: ["npm", "run", "migrate"].map(str::to_owned).to_vec(),
        env: spec().env,
        files: Vec::new(),
        size: Size { cpu_millis: 500, memory_bytes: 64 << 20 },
        tty: true,
        timeout_s: 60,
    };
    let task = job::Task {
        place: Place { labels: owner().task(&spec), ..place("task-77") },
        spec: &spec,
        runs_as: RunsAs::Number,
        requests: KubernetesConfig::new("acme").requests,
        login: None,
    };
    let once = job::job(&task, &[]);
    insta::assert_snapshot!("job", yaml(&once));
    let nightly = cron_job::cron_job(&task.place, "0 3 * * *", Some("Europe/Berlin"), once);
    assert!(yaml(&nightly).contains("concurrencyPolicy: Forbid"));
}

#[test]
fn what_stands_by_a_workload_bounds_disruption_and_follows_its_load() {
    let spec = spec();
    let place = workload_place(&spec);
    let autoscale = Autoscale { min: 2, max: 10, cpu_percent: Some(70), memory_percent: Some(80) };
    let objects = [
        yaml(&disruption_budget::disruption_budget(&place, &spec)),
        yaml(&autoscaler::autoscaler(&place, autoscale, spec.size)),
        yaml(&volume_claim::volume_claim(&place, 10 << 30, None)),
    ];
    insta::assert_snapshot!("beside", objects.join("---\n"));
    let alone = WorkloadSpec { replicas: 1, ..spec };
    assert!(disruption_budget::disruption_budget(&place, &alone).is_none(), "it would hold its node");
    let alone_now = WorkloadSpec { autoscale: Some(autoscale), ..alone };
    assert!(disruption_budget::disruption_budget(&place, &alone_now).is_some(), "it may have more");
}

#[test]
fn a_published_port_is_a_service_with_a_policy_that_lets_it_in_and_room_in_the_quota() {
    let spec = spec();
    let port = PortSpec { published: 30_000, target: spec.key.clone(), port: 9000, app: "shop".to_owned() };
    let key = &environment().key;
    let labels = owner().port(key, &spec.key.placement, "shop");
    let place = Place { labels, ..place(&published_name("shop", 30_000)) };
    let service = |kind| published::published(&place, &port, kind);
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Service".into(),
        name: place.name.clone(),
        uid: "7".into(),
        ..OwnerReference::default()
    };
    let quota = |kind| yaml(&quota::quota(&place, &KubernetesConfig::new("acme").quota, kind, 2));
    let objects = [
        yaml(&service(PortService::NodePort)),
        yaml(&network_policy::published(&place, &port.target, port.port, owner)),
        quota(PortService::NodePort),
        yaml(&service(PortService::LoadBalancer)),
        quota(PortService::LoadBalancer),
    ];
    insta::assert_snapshot!("published-port", objects.join("---\n"));
}
