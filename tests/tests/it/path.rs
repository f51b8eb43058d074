//! The walking path: one app from its first deploy to its end.

use std::time::Duration;

use panda_api_types::{LogLine, ReleaseDiff};
use panda_e2e::{App, Installation, image, on_both_runtimes};

on_both_runtimes!(an_image_goes_live_is_replaced_rolled_back_changed_scaled_and_leaves_nothing);

async fn an_image_goes_live_is_replaced_rolled_back_changed_scaled_and_leaves_nothing(
    panda: &Installation,
) -> anyhow::Result<()> {
    let app = App::create(panda, "web").await?;
    let mut first = image(panda, "v1");
    first.overrides.replicas = Some(3);
    app.deploy_live(&first).await?;
    app.answers("/", "v1\n").await?;
    app.settle(3).await?;

    let prober = app.probe()?;
    app.deploy_live(&image(panda, "v2")).await?;
    prober.until_answers("v2", Duration::from_secs(10)).await?;
    app.roll_back(None).await?;
    prober.until_answers("v1", Duration::from_secs(10)).await?;
    app.set_env("GREETING", "hello", false).await?;
    app.answers("/env?name=GREETING", "hello").await?;
    app.scale(1).await?;
    app.scale(2).await?;
    prober.stop().assert_no_failures();

    let diff: ReleaseDiff = panda.api().get(&app.path("/releases/diff?from=1&to=2")).await?;
    assert!(diff.changes.iter().any(|change| change.what == "image"), "{diff:?}");
    let logs = panda.api().text(&app.path("/logs?tail=50")).await?;
    let lines: Vec<LogLine> = logs
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(lines.iter().any(|line| line.line.contains("version v1 listening")), "{logs}");

    app.destroy().await?;
    panda.until_nothing_is_left().await
}
