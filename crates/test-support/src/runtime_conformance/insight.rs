//! Contracts of logs, exec, usage and manifests.

use anyhow::{Result, ensure};
use futures_util::TryStreamExt;
use panda_deployer::runtime::{ExecRequest, LogQuery, LogTarget, RuntimeError, Usage};
use panda_domain::secret::Secret;

use super::{App, Harness, Place};

/// Returns a query for all lines of the place's app.
pub(super) fn query(place: &Place) -> LogQuery {
    LogQuery {
        target: LogTarget::Placement {
            environment: place.key.clone(),
            placement: place.placement.clone(),
            process: None,
            instance: None,
        },
        follow: false,
        since: None,
        tail: None,
    }
}

/// Lines come with whose they are; a tail counts all instances together.
pub async fn logs_can_be_read_and_cut_to_the_newest(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 2);
    let instances = harness.serve(&spec).await?;
    let all = harness
        .until("both have printed", || async {
            let all: Vec<_> = harness.runtime.logs(&query(place)).await?.try_collect().await?;
            Ok((all.len() == 2).then_some(all))
        })
        .await?;
    ensure!(all.iter().all(|line| line.process == "web" && line.line.starts_with(b"version")), "{all:?}");
    ensure!(instances.iter().all(|i| all.iter().any(|line| line.instance.as_ref() == Some(&i.id))));
    let newest = LogQuery { tail: Some(1), ..query(place) };
    let newest: Vec<_> = harness.runtime.logs(&newest).await?.try_collect().await?;
    ensure!(newest.len() == 1, "{newest:?}");
    let later = LogQuery { since: all.iter().map(|line| line.at).max(), ..query(place) };
    let later: Vec<_> = harness.runtime.logs(&later).await?.try_collect().await?;
    ensure!(later.is_empty(), "{later:?}");
    let of_worker = LogTarget::Placement {
        environment: place.key.clone(),
        placement: place.placement.clone(),
        process: Some("worker".parse()?),
        instance: None,
    };
    let none: Vec<_> =
        harness.runtime.logs(&LogQuery { target: of_worker, ..query(place) }).await?.try_collect().await?;
    ensure!(none.is_empty());
    Ok(())
}

/// A command's output and code come back.
pub async fn exec_tells_output_and_exit_code(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Shell, 1);
    spec.command = Some(["sleep", "300"].map(str::to_owned).to_vec());
    spec.port = None;
    let instances = harness.serve(&spec).await?;
    let command = ["sh", "-c", "echo out; exit 7"].map(str::to_owned).to_vec();
    let request = ExecRequest { command, tty: false, size: None };
    let session = harness.runtime.exec(&place.key, &instances[0].id, &request).await?;
    let printed: Vec<_> = session.output.map_ok(|(_, bytes)| bytes).try_collect().await?;
    ensure!(printed.concat() == b"out\n", "{printed:?}");
    ensure!(session.exit.await? == 7);
    Ok(())
}

/// An id of another environment is as unknown as any.
pub async fn exec_in_an_unknown_instance_is_not_found(harness: &mut Harness, place: &Place) -> Result<()> {
    let request = ExecRequest { command: vec!["true".to_owned()], tty: false, size: None };
    let outcome = harness.runtime.exec(&place.key, &harness.ids.next(), &request).await;
    ensure!(matches!(outcome.err(), Some(RuntimeError::NotFound { .. })));
    Ok(())
}

/// Figures are there for each instance, with its limit.
pub async fn usage_is_told_for_each_running_instance(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 2);
    harness.serve(&spec).await?;
    let used = async || harness.runtime.usage(&place.key, &place.placement).await;
    let usage = used().await?;
    ensure!(usage.len() == 2, "{usage:?}");
    ensure!(usage.iter().all(|one| one.memory_limit_bytes == Some(spec.size.memory_bytes)), "{usage:?}");
    // The first figures may take a while: a cluster takes samples by its own clock.
    harness
        .until("there are figures of both", || async {
            let usage = used().await?;
            let told =
                |one: &Usage| one.memory_bytes.is_some_and(|bytes| bytes > 0) && one.cpu_millis.is_some();
            Ok((usage.len() == 2 && usage.iter().all(told)).then_some(()))
        })
        .await
}

/// Manifests are for people: names, never values.
pub async fn a_manifest_shows_no_value_of_a_variable(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    spec.env.0.insert("API_TOKEN".to_owned(), Secret::new("very-secret-value"));
    harness.serve(&spec).await?;
    let manifest = harness.runtime.manifest(&place.key, &place.placement).await?;
    ensure!(manifest.contains("API_TOKEN"), "{manifest}");
    ensure!(!manifest.contains("very-secret-value"), "{manifest}");
    Ok(())
}
