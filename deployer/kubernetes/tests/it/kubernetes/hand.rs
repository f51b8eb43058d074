//! Somebody changes our objects by hand.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use panda_deployer::runtime::{ObservedInstance, WorkloadSpec};
use panda_domain::formation::Size;
use panda_test_support::runtime_conformance::{App, Harness, Place};
use serde_json::{Value, json};

use super::{cluster, own};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_deployment_is_put_back_and_one_that_is_right_is_left_alone() {
    own(|harness, place| Box::pin(edited(harness, place))).await;
}

async fn edited(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    let text = |path: &str| panda_deployer::runtime::FileSpec {
        path: path.to_owned(),
        content: panda_domain::secret::Secret::new("x"),
        secret: false,
    };
    spec.files = vec![text("/etc/a"), text("/etc/b")];
    harness.serve(&spec).await?;
    let (client, namespace) = cluster(place).await?;
    let deployments = Api::<Deployment>::namespaced(client, &namespace);
    let only = only(&deployments).await?;
    ensure!(generation(harness, &spec, &deployments).await? == only.metadata.generation, "it was right");

    let edit =
        json!({ "spec": { "replicas": 3, "template": { "spec": { "terminationGracePeriodSeconds": 77 } } } });
    patch(&deployments, &only.name_any(), &edit).await?;
    // Two steps: the template, then the number.
    harness
        .until("it is put back", || async {
            harness.runtime.ensure_workload(&spec).await?;
            let now = deployments.get(&only.name_any()).await?.spec.context("it has a spec")?;
            let grace = now.template.spec.and_then(|pod| pod.termination_grace_period_seconds);
            Ok((now.replicas == Some(1) && grace != Some(77)).then_some(()))
        })
        .await?;
    harness.serve(&spec).await?;
    Ok(())
}

/// Returns the generation after the workload was ensured some times.
async fn generation(
    harness: &Harness,
    spec: &WorkloadSpec,
    deployments: &Api<Deployment>,
) -> Result<Option<i64>> {
    for _ in 0..3 {
        harness.runtime.ensure_workload(spec).await?;
    }
    Ok(only(deployments).await?.metadata.generation)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_by_hand_comes_back() {
    own(|harness, place| Box::pin(deleted(harness, place))).await;
}

async fn deleted(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    let before = ids(&harness.serve(&spec).await?);
    let (client, namespace) = cluster(place).await?;
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    let services = Api::<Service>::namespaced(client.clone(), &namespace);
    let secrets = Api::<Secret>::namespaced(client, &namespace);
    let name = only(&deployments).await?.name_any();
    services.delete("shop", &DeleteParams::default()).await?;
    secrets.delete(&name, &DeleteParams::default()).await?;
    deployments.delete(&name, &DeleteParams::background()).await?;
    harness
        .until("another instance serves", || async {
            harness.runtime.ensure_workload(&spec).await?;
            let seen = harness.observed(&spec.key).await?.map(|w| (w.ready(), ids(&w.instances)));
            Ok(seen.filter(|(ready, ids)| *ready == 1 && ids.is_disjoint(&before)))
        })
        .await?;
    ensure!(services.get_opt("shop").await?.is_some() && secrets.get_opt(&name).await?.is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_of_panda_restarts_nothing_and_a_size_that_changes_does() {
    own(|harness, place| Box::pin(older(harness, place))).await;
}

async fn older(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    let before = ids(&harness.serve(&spec).await?);
    let (client, namespace) = cluster(place).await?;
    let deployments = Api::<Deployment>::namespaced(client, &namespace);
    // As an older builder may have written it: not as today's would, and its instances run.
    let old = json!({ "metadata": { "annotations": { "dev.panda/template": "0" } },
        "spec": { "revisionHistoryLimit": 7 } });
    patch(&deployments, &only(&deployments).await?.name_any(), &old).await?;
    harness
        .until("the change is seen", || async {
            let annotation = only(&deployments).await?.annotations().get("dev.panda/template").cloned();
            Ok((annotation.as_deref() == Some("0")).then_some(()))
        })
        .await?;
    let two = WorkloadSpec { replicas: 2, ..spec.clone() };
    ensure!(before.is_subset(&ids(&harness.serve(&two).await?)), "scaling restarts nothing");
    let larger = WorkloadSpec { size: Size { cpu_millis: 500, memory_bytes: 128 << 20 }, ..two };
    harness
        .until("both have the new size", || async {
            harness.runtime.ensure_workload(&larger).await?;
            let usage = harness.runtime.usage(&place.key, &place.placement).await?;
            let sized = usage.iter().filter(|one| one.memory_limit_bytes == Some(128 << 20)).count();
            let ready = harness
                .observed(&larger.key)
                .await?
                .is_some_and(|w| w.ready() == 2 && w.instances.len() == 2);
            Ok((sized == 2 && ready).then_some(()))
        })
        .await
}

async fn only(deployments: &Api<Deployment>) -> Result<Deployment> {
    let all = deployments.list(&ListParams::default()).await?.items;
    ensure!(all.len() == 1, "{} deployments", all.len());
    all.into_iter().next().context("there is one")
}

async fn patch(deployments: &Api<Deployment>, name: &str, edit: &Value) -> Result<()> {
    deployments.patch(name, &PatchParams::default(), &Patch::Merge(edit)).await?;
    Ok(())
}

fn ids(instances: &[ObservedInstance]) -> BTreeSet<String> {
    instances.iter().map(|instance| instance.id.to_string()).collect()
}
