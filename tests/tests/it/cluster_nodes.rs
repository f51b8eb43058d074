//! Nodes that go, and what goes with them, on a cluster of the test's own.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use panda_api_types::Instance;
use panda_e2e::cluster::OwnCluster;
use panda_e2e::{App, Cluster, Ground, Installation, Options, Source, image, story_with};
use panda_test_support::skip::skip;

/// Tells a story on a cluster of its own; skips like the others.
#[track_caller]
fn own_cluster_story(body: impl AsyncFnOnce(&Installation, &OwnCluster) -> anyhow::Result<()>) {
    let name = std::thread::current().name().unwrap_or("main").to_owned();
    let Some(ground) = Ground::or_skip(&name) else { return };
    if Cluster::of_the_run().is_none() {
        return skip("kubernetes-runtime", "KUBECONFIG names no cluster with an ingress");
    }
    let own = Cluster::own(&ground.run, &ground.pull).expect("a cluster starts");
    let ours = Some(own.cluster().clone());
    story_with(
        |_| Ok(Options { cluster: ours, ..Options::default() }),
        async |panda| body(panda, &own).await,
    );
}

/// The ingress and what else a cluster has stay where they are.
const APPS: &str = "--pod-selector=dev.panda/process";

/// Drains a node of its apps; fails when not all went in time.
fn drain(cluster: &Cluster, node: &str, seconds: u32) -> anyhow::Result<()> {
    let limit = format!("--timeout={seconds}s");
    let arguments = ["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", APPS, &limit];
    cluster.kubectl(&arguments).map(drop)
}

/// Returns the nodes of the instances that there are.
fn places(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let format = "jsonpath={..nodeName}";
    let placed = cluster.kubectl(&["get", "pods", "-A", "-l", "dev.panda/process=web", "-o", format])?;
    Ok(placed.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn a_node_that_is_drained_costs_no_request_and_one_that_is_lost_is_replaced_elsewhere() {
    own_cluster_story(nodes);
}

async fn nodes(panda: &Installation, own: &OwnCluster) -> anyhow::Result<()> {
    own.node("add", 2)?;
    let cluster = own.cluster();
    let app = App::create(panda, "web").await?;
    let mut first = image(panda, "v1");
    first.overrides.replicas = Some(4);
    app.deploy_live(&first).await?;
    let on_second = || anyhow::Ok(places(cluster)?.iter().any(|node| node == "node-2"));
    anyhow::ensure!(on_second()?, "instances are spread: {:?}", places(cluster)?);
    let prober = app.probe()?;
    prober.until_answers("v1", Duration::from_secs(10)).await?;
    drain(cluster, "node-2", 120)?;
    app.settle(4).await?;
    anyhow::ensure!(!on_second()?, "the node is empty");
    prober.stop().assert_no_failures();

    cluster.kubectl(&["uncordon", "node-2"])?;
    app.scale(8).await?;
    anyhow::ensure!(on_second()?, "instances are spread: {:?}", places(cluster)?);
    own.node("kill", 2)?;
    let begun = Instant::now();
    // Its instances count as lost after 20 s, and others have taken their place 10 s later: tests/cluster/README.md.
    loop {
        let placed = places(cluster)?.iter().filter(|node| *node == "node-1").count();
        if placed >= 8 {
            break;
        }
        anyhow::ensure!(
            begun.elapsed() < Duration::from_mins(3),
            "{placed} of 8 run on the node that is left"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Requests may fail while the cluster thinks that the node is there, and not afterwards.
    let prober = app.probe()?;
    tokio::time::sleep(Duration::from_secs(3)).await; // some hundred requests
    prober.stop().assert_only("v1");
    Ok(())
}

#[test]
fn while_the_registry_is_away_what_serves_stays_and_what_moves_says_what_it_waits_for() {
    own_cluster_story(registry_away);
}

async fn registry_away(panda: &Installation, own: &OwnCluster) -> anyhow::Result<()> {
    let cluster = own.cluster();
    // The run's registry sends every node to the run's cluster for a token.
    let run = Cluster::of_the_run().context("the run has a cluster")?;
    let _realm = run.lead_nodes_to(panda.address.trim_start_matches("http://").parse()?)?;
    let app = App::create(panda, "web").await?;
    app.deploy_source(&Source::sample("hello-node")?).await?;
    // Both nodes have the image: the scheduler alone may take one of them for all.
    own.node("add", 2)?;
    cluster.kubectl(&["cordon", "node-1"])?;
    app.scale(4).await?;
    cluster.kubectl(&["uncordon", "node-1"])?;
    anyhow::ensure!(places(cluster)?.iter().any(|node| node == "node-2"), "{:?}", places(cluster)?);
    let prober = app.probe()?;
    prober.until_answers("hello from v1 (v1)", Duration::from_secs(10)).await?;

    own.registry("stop")?;
    // Where the image is, an instance moves to without the registry.
    drain(cluster, "node-2", 180)?;
    app.settle(4).await?;
    anyhow::ensure!(places(cluster)?.iter().all(|node| node == "node-1"), "{:?}", places(cluster)?);

    // Where it isn't, the first waits, and with it all the others stay.
    own.node("add", 3)?;
    anyhow::ensure!(drain(cluster, "node-1", 30).is_err(), "no more than one may be missing");
    let waits = waiting(&app).await?;
    let reason = waits.reason.unwrap_or_default();
    anyhow::ensure!(reason.contains("can't be reached"), "{reason}");
    let ready = app.instances().await?.iter().filter(|instance| instance.state == "ready").count();
    anyhow::ensure!(ready == 3, "{ready} serve");

    own.registry(&panda.ground.pull)?;
    app.settle(4).await?;
    drain(cluster, "node-1", 180)?;
    app.settle(4).await?;
    anyhow::ensure!(places(cluster)?.iter().all(|node| node == "node-3"), "{:?}", places(cluster)?);
    prober.stop().assert_only("hello from v1 (v1)");
    Ok(())
}

/// Waits for an instance that doesn't come up and says why.
async fn waiting(app: &App<'_>) -> anyhow::Result<Instance> {
    let begun = Instant::now();
    loop {
        let instances = app.instances().await?;
        let found = instances.iter().find(|instance| instance.state != "ready" && instance.reason.is_some());
        if let Some(found) = found {
            return Ok(found.clone());
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_mins(1), "nobody waits: {instances:#?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[test]
fn apps_serve_while_the_whole_control_plane_is_off_the_clusters_included() {
    own_cluster_story(async |panda, own| {
        let app = App::create(panda, "web").await?;
        let mut first = image(panda, "v1");
        first.overrides.replicas = Some(2);
        app.deploy_live(&first).await?;
        app.settle(2).await?;
        let prober = app.probe()?;
        prober.until_answers("v1", Duration::from_secs(10)).await?;
        panda.kill9_server();
        // What goes without Panda is replaced without Panda.
        let pods =
            own.cluster().kubectl(&["get", "pods", "-A", "-l", "dev.panda/process=web", "-o", "name"])?;
        let namespace = panda.left_on_engine()?.1.first().cloned().context("it has a namespace")?;
        let namespace = namespace.trim_start_matches('/');
        let pod = pods.lines().next().context("it has a pod")?;
        own.cluster().kubectl(&["-n", namespace, "delete", pod])?;
        own.cluster().kubectl(&[
            "-n",
            namespace,
            "wait",
            "--for=jsonpath={.status.readyReplicas}=2",
            "--timeout=60s",
            "deployment",
            "--all",
        ])?;
        own.api("stop")?;
        tokio::time::sleep(Duration::from_secs(20)).await; // long enough for a lease to be missed
        prober.stop().assert_only("v1");

        own.api("start")?;
        panda.start_server().await?;
        app.deploy_live(&image(panda, "v2")).await?;
        // The cluster's ingress hears of it when it next asks the API server, which was away from it too.
        app.answers_again("/", "v2\n").await
    });
}
