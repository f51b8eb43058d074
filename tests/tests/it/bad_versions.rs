//! Versions that don't work: each is refused by its own name, and the old one serves without a failed request.

use std::time::Duration;

use panda_api_types::{DeployRequest, Deployment};
use panda_e2e::{App, Installation, image, on_both_runtimes};

/// Short enough for a test, long enough for a busy machine.
const IMPATIENT: &str = "[deploy]\nhealth_timeout = \"20s\"\n\n[processes.web.health]\nstartup = \"10s\"\n";

/// Deploys v1, then the bad one beside a prober; returns how that ended.
async fn bad(panda: &Installation, request: DeployRequest) -> anyhow::Result<Deployment> {
    let app = App::create(panda, "web").await?;
    app.deploy_live(&image(panda, "v1")).await?;
    let prober = app.probe()?;
    let ended = app.deploy(&request).await?;
    assert_eq!(ended.serving_release, Some(1), "{ended:#?}");
    app.settle(1).await?;
    prober.stop().assert_only("v1");
    Ok(ended)
}

fn impatient(panda: &Installation, tag: &str) -> DeployRequest {
    DeployRequest { manifest: Some(IMPATIENT.into()), ..image(panda, tag) }
}

#[track_caller]
fn expect(ended: &Deployment, code: &str, cause: &str) {
    assert!(matches!(ended.state.as_str(), "unhealthy" | "timed_out"), "{ended:#?}");
    assert_eq!(ended.failure_code.as_deref(), Some(code), "{ended:#?}");
    assert!(ended.cause.as_deref().unwrap_or_default().contains(cause), "{ended:#?}");
    assert!(ended.fix.as_deref().is_some_and(|fix| !fix.is_empty()), "{ended:#?}");
}

on_both_runtimes!(a_version_that_exits_is_told_by_its_exit_code_and_last_lines);

async fn a_version_that_exits_is_told_by_its_exit_code_and_last_lines(
    panda: &Installation,
) -> anyhow::Result<()> {
    let ended = bad(panda, impatient(panda, "exits")).await?;
    expect(&ended, "P208", "code 1");
    assert!(ended.log.iter().any(|line| line.contains("exiting with 1")), "{ended:#?}");
    Ok(())
}

on_both_runtimes!(a_version_that_never_listens_ends_at_its_deadline);

async fn a_version_that_never_listens_ends_at_its_deadline(panda: &Installation) -> anyhow::Result<()> {
    expect(&bad(panda, impatient(panda, "never-ready")).await?, "P204", "8080");
    Ok(())
}

on_both_runtimes!(a_version_on_localhost_is_told_so);

async fn a_version_on_localhost_is_told_so(panda: &Installation) -> anyhow::Result<()> {
    expect(&bad(panda, impatient(panda, "localhost")).await?, "P202", "localhost");
    Ok(())
}

on_both_runtimes!(a_version_on_another_port_is_told_which);

async fn a_version_on_another_port_is_told_which(panda: &Installation) -> anyhow::Result<()> {
    expect(&bad(panda, impatient(panda, "other-port")).await?, "P203", "3999");
    Ok(())
}

on_both_runtimes!(a_version_that_eats_its_memory_is_told_its_limit);

async fn a_version_that_eats_its_memory_is_told_its_limit(panda: &Installation) -> anyhow::Result<()> {
    let manifest = "[deploy]\nhealth_timeout = \"30s\"\n\n[processes.web]\nmemory = \"64Mi\"\n\n[processes.web.health]\npath = \"/env?name=NOT_SET\"\n";
    let request = DeployRequest { manifest: Some(manifest.into()), ..image(panda, "eats-memory") };
    match bad(panda, request).await {
        Ok(ended) => expect(&ended, "P206", "memory"),
        Err(error) => return Err(error),
    }
    Ok(())
}

on_both_runtimes!(a_health_path_that_answers_404_is_told_with_its_status);

async fn a_health_path_that_answers_404_is_told_with_its_status(panda: &Installation) -> anyhow::Result<()> {
    let manifest = format!("{IMPATIENT}path = \"/env?name=NOT_SET\"\n");
    let request = DeployRequest { manifest: Some(manifest), ..image(panda, "v2") };
    expect(&bad(panda, request).await?, "P205", "404");
    Ok(())
}

on_both_runtimes!(an_image_that_does_not_exist_is_told_by_its_name);

async fn an_image_that_does_not_exist_is_told_by_its_name(panda: &Installation) -> anyhow::Result<()> {
    let app = App::create(panda, "web").await?;
    app.deploy_live(&image(panda, "v1")).await?;
    let prober = app.probe()?;
    let ended = app.deploy(&image(panda, "no-such-tag")).await;
    match ended {
        Ok(ended) => {
            assert_eq!(ended.failure_code.as_deref(), Some("P207"), "{ended:#?}");
            assert!(ended.cause.as_deref().unwrap_or_default().contains("no-such-tag"), "{ended:#?}");
        }
        Err(refused) => assert!(format!("{refused:#}").contains("no-such-tag"), "{refused:#}"),
    }
    prober.stop().assert_only("v1");
    Ok(())
}

on_both_runtimes!(a_version_that_dies_twenty_seconds_after_going_live_is_rolled_back_by_itself);

async fn a_version_that_dies_twenty_seconds_after_going_live_is_rolled_back_by_itself(
    panda: &Installation,
) -> anyhow::Result<()> {
    let app = App::create(panda, "web").await?;
    app.deploy_live(&image(panda, "v1")).await?;
    let prober = app.probe()?;
    let went_live = app.deploy_live(&image(panda, "dies-later")).await?;
    prober.until_answers("dies-later", Duration::from_secs(10)).await?;
    // Requests may fail here, and only here: between its death and the return.
    let back = prober.until_answers("v1", Duration::from_mins(2)).await?;
    app.settle(1).await?;
    app.answers("/", "v1\n").await?;
    let report = prober.stop();
    let last_failure = report.failures().last().map(|sample| sample.sent);
    assert!(last_failure.is_none_or(|sent| sent <= back + Duration::from_secs(1)), "{report}");
    let outcome =
        app.releases().await?.into_iter().find(|r| Some(r.number) == went_live.release).map(|r| r.outcome);
    assert_ne!(outcome.as_deref(), Some("live"), "the dead release still counts as live");
    Ok(())
}
