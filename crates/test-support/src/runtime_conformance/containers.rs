//! Contracts that only real containers can keep.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt};
use panda_deployer::runtime::{ExecRequest, FileSpec, ImageUser, LogQuery, WorkloadSpec};
use panda_domain::ids::InstanceId;
use panda_domain::secret::Secret;
use tokio::io::AsyncWriteExt;

use super::insight::query;
use super::{App, Harness, Place};

/// A path decides readiness.
pub async fn an_app_is_ready_by_its_http_path(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    spec.health.path = Some("/healthz".to_owned());
    let instances = harness.serve(&spec).await?;
    ensure!(instances[0].probe.is_none());
    Ok(())
}

/// An answer outside of the wanted range is told.
pub async fn an_app_that_answers_badly_is_not_ready_and_says_how(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    spec.health.path = Some("/env?name=NOT_SET".to_owned());
    harness.converge(&spec).await?;
    let said = |i: &panda_deployer::runtime::ObservedInstance| {
        i.probe.as_deref() == Some("GET /env?name=NOT_SET gave 404")
    };
    harness.first(&spec.key, "the probe says the status", said).await?;
    Ok(())
}

/// No shell and no template touches a value.
pub async fn variables_arrive_byte_for_byte(harness: &mut Harness, place: &Place) -> Result<()> {
    let values = [
        ("PLAIN", "a b"),
        ("LINES", "one\ntwo\n"),
        ("QUOTES", "'\"`$(id)${HOME}\\n"),
        ("EQUALS", "=a=b="),
        ("EMPTY", ""),
        ("WORDS", "héllo ✓"),
    ];
    let mut spec = harness.spec(place, App::Web, 1);
    spec.env.0.extend(values.map(|(name, value)| (name.to_owned(), Secret::new(value))));
    let address = serve_one(harness, &spec).await?.1;
    let (client, _) = client(harness, place).await?;
    for (name, value) in values {
        let got = fetch(harness, place, &client, &format!("{address}/env?name={name}")).await?;
        ensure!(got == (value.to_owned(), 0), "{name}: {got:?} isn't {value:?}");
    }
    Ok(())
}

/// Files are there before the process starts, and the app can't change them.
pub async fn files_are_mounted_and_only_readable(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Shell, 1);
    let file = |path: &str, text: &str, secret| {
        let (path, content) = (path.to_owned(), Secret::new(text));
        FileSpec { path, content, secret }
    };
    spec.files = vec![file("/etc/app/config.toml", "key = \"$(id)\"\n", false), file("/secret", "s", true)];
    spec.user = ImageUser::Built;
    spec.command = Some(["sleep", "300"].map(str::to_owned).to_vec());
    spec.port = None;
    let (instance, _) = serve_one(harness, &spec).await?;
    let read = sh(harness, place, &instance, "cat /etc/app/config.toml /secret").await?;
    ensure!(read == ("key = \"$(id)\"\ns".to_owned(), 0), "{read:?}");
    let (_, code) = sh(harness, place, &instance, "echo x > /secret || rm /secret").await?;
    ensure!(code != 0, "the app could change its file");
    let (id, _) = sh(harness, place, &instance, "id -u; id -g").await?;
    ensure!(id == "10001\n10001\n", "{id:?}");
    Ok(())
}

/// A path that leaves the container is refused before anything is created.
pub async fn a_file_outside_of_the_container_is_refused(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    harness.runtime.ensure_image(&spec.image).await?;
    let outside = FileSpec { path: "/../../etc/x".to_owned(), content: Secret::new("x"), secret: false };
    spec.files = vec![outside];
    ensure!(harness.runtime.ensure_workload(&spec).await.is_err_and(|error| !error.is_transient()));
    ensure!(harness.observed(&spec.key).await?.is_none());
    Ok(())
}

/// `PANDA_INSTANCE` is the id that is observed, in one of an id's two spellings.
pub async fn instances_know_who_they_are(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    let (instance, address) = serve_one(harness, &spec).await?;
    let (client, _) = client(harness, place).await?;
    let told = fetch(harness, place, &client, &format!("{address}/env?name=PANDA_INSTANCE")).await?.0;
    ensure!(told.parse::<InstanceId>()? == instance, "{told} isn't {instance}");
    Ok(())
}

/// `<app>` and its port are enough within an environment.
pub async fn apps_of_an_environment_find_each_other_by_name(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let api = WorkloadSpec { app: "backend".parse()?, ..harness.spec(place, App::Web, 2) };
    harness.serve(&api).await?;
    let (client, _) = client(harness, place).await?;
    let (text, code) = fetch(harness, place, &client, "backend:8080").await?;
    ensure!(code == 0 && text.trim() == "v1", "{text}");
    // An instance that was created without its name gets it later, and keeps its address.
    let mut late =
        WorkloadSpec { app: "late".parse()?, discoverable: false, ..harness.spec(place, App::Web, 1) };
    let before = serve_one(harness, &late).await?;
    ensure!(fetch(harness, place, &client, "late:8080").await?.1 != 0, "it isn't to be found yet");
    late.discoverable = true;
    ensure!(serve_one(harness, &late).await? == before);
    harness
        .until("it is found", || async {
            Ok((fetch(harness, place, &client, "late:8080").await?.1 == 0).then_some(()))
        })
        .await
}

/// One tenant's network is closed to another's.
pub async fn apps_of_two_environments_cannot_reach_each_other(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let other = harness.place().await?;
    let (_, theirs) = serve_one(harness, &harness.spec(&other, App::Web, 1)).await?;
    let (_, ours) = serve_one(harness, &harness.spec(place, App::Web, 1)).await?;
    let (client, _) = client(harness, place).await?;
    let near = fetch(harness, place, &client, &ours).await?;
    let far = fetch(harness, place, &client, &theirs).await?;
    let name = fetch(harness, &other, &client, "shop:8080").await;
    harness.clear(&other).await?;
    ensure!(near.1 == 0, "its own environment is reached: {near:?}");
    ensure!(far.1 != 0, "another environment was reached at {theirs}");
    ensure!(name.is_err(), "an instance isn't found in another environment");
    Ok(())
}

/// Following goes on with instances that didn't exist when it began.
pub async fn lines_of_a_later_instance_are_followed_too(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    let (first, _) = serve_one(harness, &spec).await?;
    let mut lines = harness.runtime.logs(&LogQuery { follow: true, ..query(place) }).await?;
    let next = lines.next().await.context("the first instance has a line")??;
    ensure!(next.instance == Some(first));
    let two = harness.serve(&WorkloadSpec { replicas: 2, ..spec }).await?;
    let later = tokio::time::timeout(Duration::from_secs(10), lines.next()).await;
    let later = later.context("the later instance's line doesn't come")?.context("the stream ended")??;
    ensure!(later.instance.as_ref() == two.last().map(|i| &i.id), "{later:?}");
    ensure!(later.line.starts_with(b"version"), "{later:?}");
    Ok(())
}

/// What a run printed before it died is what people look for.
pub async fn lines_of_an_ended_run_are_kept(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Exits, 1);
    harness.converge(&spec).await?;
    harness.first(&spec.key, "it has exited", |i| i.restarts >= 1).await?;
    let lines: Vec<_> = harness.runtime.logs(&query(place)).await?.try_collect().await?;
    ensure!(
        lines.iter().any(|line| line.line.as_ref() == b"exiting with 1, as this version does"),
        "{lines:?}"
    );
    Ok(())
}

/// What is typed arrives, and closing the input is seen.
pub async fn exec_passes_input_on(harness: &mut Harness, place: &Place) -> Result<()> {
    let (client, _) = client(harness, place).await?;
    let command = ["sh", "-c", "read line; echo got $line; test -t 0 && echo terminal"];
    let command = command.map(str::to_owned).to_vec();
    let size = Some(panda_deployer::runtime::ExecSize { columns: 100, rows: 30 });
    let request = ExecRequest { command, tty: true, size };
    let mut session = harness.runtime.exec(&place.key, &client, &request).await?;
    session.input.write_all(b"hello\n").await?;
    session.input.flush().await?;
    let printed: Vec<_> = session.output.map_ok(|(_, bytes)| bytes).try_collect().await?;
    let printed = String::from_utf8_lossy(&printed.concat()).into_owned();
    ensure!(printed.contains("got hello\r\nterminal"), "{printed:?}");
    ensure!(session.exit.await? == 0);
    Ok(())
}

/// Starts something to send requests from.
async fn client(harness: &Harness, place: &Place) -> Result<(InstanceId, String)> {
    let mut spec = harness.spec(place, App::Shell, 1);
    spec.app = "client".parse()?;
    spec.command = Some(["sleep", "300"].map(str::to_owned).to_vec());
    spec.port = None;
    serve_one(harness, &spec).await
}

async fn serve_one(harness: &Harness, spec: &WorkloadSpec) -> Result<(InstanceId, String)> {
    let instance = harness.serve(spec).await?.into_iter().next().context("there is an instance")?;
    Ok((instance.id, instance.address.unwrap_or_default()))
}

/// Sends a request from inside of the environment, which every runtime's network allows; returns the body.
async fn fetch(harness: &Harness, place: &Place, client: &InstanceId, url: &str) -> Result<(String, i64)> {
    let program = format!(
        "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen('http://{url}', timeout=3).read())"
    );
    exec(harness, place, client, vec!["python3".to_owned(), "-c".to_owned(), program]).await
}

async fn sh(harness: &Harness, place: &Place, instance: &InstanceId, script: &str) -> Result<(String, i64)> {
    exec(harness, place, instance, ["sh", "-c", script].map(str::to_owned).to_vec()).await
}

async fn exec(
    harness: &Harness,
    place: &Place,
    instance: &InstanceId,
    command: Vec<String>,
) -> Result<(String, i64)> {
    let request = ExecRequest { command, tty: false, size: None };
    let session = harness.runtime.exec(&place.key, instance, &request).await?;
    let printed: Vec<_> = session.output.try_collect().await?;
    let text: Vec<u8> = printed.into_iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
    Ok((String::from_utf8_lossy(&text).into_owned(), session.exit.await?))
}
