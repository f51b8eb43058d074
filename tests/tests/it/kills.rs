//! kill -9 and SIGTERM of the server while a deployment is in a given state: it ends live, and nothing failed meanwhile.

use std::time::Duration;

use panda_e2e::{App, Installation, cluster_story, image, long, on_both_runtimes, story, tree};

use crate::rolling::slow_source;

/// The states of a deployment that is under way.
pub(crate) const STATES: [&str; 4] = ["queued", "building", "releasing", "rolling"];

/// Deploys, ends the server as soon as the deployment is in this state, starts it again, and expects the deployment to go live.
async fn through(
    panda: &Installation,
    state: &str,
    end: impl AsyncFn(&Installation) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    trouble(panda, state, Duration::from_secs(8), async |panda| {
        end(panda).await?;
        tokio::time::sleep(Duration::from_millis(500)).await; // the time without a control plane
        panda.start_server().await
    })
    .await
}

/// Deploys, makes trouble as soon as the deployment is in this state, and expects it to go live afterwards. Old and new may answer
/// side by side for so long.
pub(crate) async fn trouble(
    panda: &Installation,
    state: &str,
    beside: Duration,
    make: impl AsyncFn(&Installation) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let app = App::create(panda, &format!("in-{state}")).await?;
    let source = slow_source("v1")?;
    app.deploy_source(&source).await?;
    let prober = app.probe()?;
    source.write("version.txt", "v2")?;
    let id = app.begin(&tree(&app.upload(&source).await?)).await?;
    if state != "queued" {
        app.until(&id, |deployment| deployment.state == state).await?;
    }
    make(panda).await?;
    let ended = app.end(&id).await?;
    assert_eq!(ended.state, "live", "trouble while {state}: {ended:#?}");
    prober.until_answers("v2", Duration::from_secs(20)).await?;
    app.settle(1).await?;
    let report = prober.stop();
    report.assert_no_failures();
    report.assert_switched("v1", "v2", beside);
    assert_eq!(app.releases().await?.len(), 2, "one release too many");
    Ok(())
}

async fn kill(panda: &Installation) -> anyhow::Result<()> {
    panda.kill9_server();
    Ok(())
}

#[test]
fn a_deploy_on_a_cluster_survives_a_kill_in_every_state() {
    if !long() {
        return; // the full matrix: make test-long; two of the states are in make test
    }
    cluster_story(async |panda| {
        for state in STATES {
            through(panda, state, kill).await?;
        }
        Ok(())
    });
}

#[test]
fn a_deploy_survives_a_kill_while_queued() {
    story(async |panda| through(panda, "queued", kill).await);
}

#[test]
fn a_deploy_survives_a_kill_while_building() {
    story(async |panda| through(panda, "building", kill).await);
}

on_both_runtimes!(a_deploy_survives_a_kill_while_releasing);

async fn a_deploy_survives_a_kill_while_releasing(panda: &Installation) -> anyhow::Result<()> {
    through(panda, "releasing", kill).await
}

on_both_runtimes!(a_deploy_survives_a_kill_while_rolling);

async fn a_deploy_survives_a_kill_while_rolling(panda: &Installation) -> anyhow::Result<()> {
    through(panda, "rolling", kill).await
}

on_both_runtimes!(a_deploy_survives_a_sigterm_while_rolling);

async fn a_deploy_survives_a_sigterm_while_rolling(panda: &Installation) -> anyhow::Result<()> {
    through(panda, "rolling", async |panda| {
        let status = panda.terminate_server().await?;
        assert!(status.success(), "the server ended with {status}");
        Ok(())
    })
    .await
}

#[test]
fn three_deploys_survive_a_sigterm_each_where_it_stands() {
    story(async |panda| {
        let source = slow_source("v1")?;
        let mut apps = Vec::new();
        for name in ["one", "two", "three"] {
            let app = App::create(panda, name).await?;
            app.deploy_source(&source).await?;
            apps.push(app);
        }
        let probers = apps.iter().map(App::probe).collect::<anyhow::Result<Vec<_>>>()?;
        source.write("version.txt", "v2")?;
        let mut ids = Vec::new();
        for app in &apps {
            ids.push(app.begin(&tree(&app.upload(&source).await?)).await?);
        }
        apps[0].until(&ids[0], |deployment| deployment.state == "rolling").await?;
        let status = panda.terminate_server().await?;
        assert!(status.success(), "the server ended with {status}");
        tokio::time::sleep(Duration::from_millis(500)).await; // the time without a control plane
        panda.start_server().await?;
        for ((app, id), prober) in apps.iter().zip(&ids).zip(probers) {
            let ended = app.end(id).await?;
            assert_eq!(ended.state, "live", "{ended:#?}");
            prober.until_answers("v2", Duration::from_secs(10)).await?;
            app.settle(1).await?;
            let report = prober.stop();
            report.assert_no_failures();
            report.assert_switched("v1", "v2", Duration::from_secs(8));
            assert_eq!(app.releases().await?.len(), 2, "one release too many");
        }
        Ok(())
    });
}

on_both_runtimes!(long a_deploy_survives_kills_at_any_moment);

async fn a_deploy_survives_kills_at_any_moment(panda: &Installation) -> anyhow::Result<()> {
    let app = App::create(panda, "anytime").await?;
    let source = slow_source("v0")?;
    app.deploy_source(&source).await?;
    let prober = app.probe()?;
    // Each deploy takes about 12 s; a kill at each half second of it.
    for step in 0..24_u64 {
        source.write("version.txt", &format!("v{}", step + 1))?;
        let id = app.begin(&tree(&app.upload(&source).await?)).await?;
        tokio::time::sleep(Duration::from_millis(step * 500)).await;
        panda.kill9_server();
        panda.start_server().await?;
        let ended = app.end(&id).await?;
        assert!(
            matches!(ended.state.as_str(), "live" | "superseded"),
            "killed after {step} half seconds: {ended:#?}"
        );
    }
    app.settle(1).await?;
    prober.stop().assert_no_failures();
    Ok(())
}

on_both_runtimes!(an_image_deploy_survives_a_server_that_is_killed_five_times);

async fn an_image_deploy_survives_a_server_that_is_killed_five_times(
    panda: &Installation,
) -> anyhow::Result<()> {
    let app = App::create(panda, "often").await?;
    let mut first = image(panda, "v1");
    first.overrides.replicas = Some(3);
    app.deploy_live(&first).await?;
    let prober = app.probe()?;
    let id = app.begin(&image(panda, "v2")).await?;
    for turn in 0..5 {
        tokio::time::sleep(Duration::from_millis(150 * turn)).await;
        panda.kill9_server();
        panda.start_server().await?;
    }
    assert_eq!(app.end(&id).await?.state, "live");
    prober.until_answers("v2", Duration::from_secs(10)).await?;
    app.settle(3).await?;
    prober.stop().assert_no_failures();
    Ok(())
}
