//! Replacing under load: nothing fails, the newest wins, a cancel is final.

use std::time::Duration;

use panda_e2e::{App, Installation, Source, image, on_both_runtimes, tree};

on_both_runtimes!(twenty_rolling_deploys_at_fifty_requests_a_second_fail_none);

async fn twenty_rolling_deploys_at_fifty_requests_a_second_fail_none(
    panda: &Installation,
) -> anyhow::Result<()> {
    let app = App::create(panda, "web").await?;
    let mut first = image(panda, "v1");
    first.overrides.replicas = Some(2);
    app.deploy_live(&first).await?;
    let prober = app.probe()?;
    for turn in 0..20 {
        let tag = if turn % 2 == 0 { "v2" } else { "v1" };
        app.deploy_live(&image(panda, tag)).await?;
        prober.until_answers(tag, Duration::from_secs(10)).await?;
    }
    let report = prober.stop();
    report.assert_no_failures();
    assert_eq!(app.releases().await?.len(), 21);
    Ok(())
}

on_both_runtimes!(of_deploys_asked_at_the_same_time_the_newest_wins);

async fn of_deploys_asked_at_the_same_time_the_newest_wins(panda: &Installation) -> anyhow::Result<()> {
    let app = App::create(panda, "web").await?;
    app.deploy_live(&image(panda, "v1")).await?;
    let prober = app.probe()?;
    let mut ids = Vec::new();
    for (number, tag) in ["v2", "v1", "v2"].into_iter().enumerate() {
        let mut request = image(panda, tag);
        request.overrides.env.insert("TURN".into(), number.to_string());
        ids.push(app.begin(&request).await?);
    }
    let mut states = Vec::new();
    for id in &ids {
        states.push(app.end(id).await?.state);
    }
    assert_eq!(states.last().map(String::as_str), Some("live"), "{states:?}");
    let overtaken =
        states[..2].iter().all(|state| matches!(state.as_str(), "canceled" | "superseded" | "live"));
    assert!(overtaken, "{states:?}");
    app.answers("/env?name=TURN", "2").await?;
    app.settle(1).await?;
    prober.stop().assert_no_failures();
    Ok(())
}

on_both_runtimes!(a_cancel_is_final_in_every_step_and_frees_the_queue);

async fn a_cancel_is_final_in_every_step_and_frees_the_queue(panda: &Installation) -> anyhow::Result<()> {
    let app = App::create(panda, "steps").await?;
    let source = slow_source("v1")?;
    app.deploy_source(&source).await?;
    let prober = app.probe()?;
    for (number, state) in ["queued", "building", "releasing", "rolling"].into_iter().enumerate() {
        source.write("version.txt", &format!("next{number}"))?;
        let id = app.begin(&tree(&app.upload(&source).await?)).await?;
        if state != "queued" {
            app.until(&id, |deployment| deployment.state == state).await?;
        }
        panda.api().poke(&app.path(&format!("/deployments/{id}/cancel"))).await?;
        let ended = app.end(&id).await?;
        assert_eq!(ended.state, "canceled", "cancelled while {state}: {ended:#?}");
    }
    app.settle(1).await?;
    prober.stop().assert_only("v1");
    source.write("version.txt", "last")?;
    app.deploy_source(&source).await?;
    Ok(())
}

/// An app that takes a while in each state: build, release command, start.
pub(crate) fn slow_source(version: &str) -> anyhow::Result<Source> {
    Source::of(&[
        (
            "Dockerfile",
            "FROM node:22-slim\nWORKDIR /app\nCOPY . .\nRUN sleep 3\nUSER 10001\nCMD [\"node\", \"server.js\"]\n",
        ),
        (
            "server.js",
            "const text = require('node:fs').readFileSync('version.txt', 'utf8');\n\
             const server = require('node:http').createServer((_, answer) => answer.end(text));\n\
             setTimeout(() => server.listen(process.env.PORT, '0.0.0.0'), 3000);\n\
             process.on('SIGTERM', () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });\n",
        ),
        ("version.txt", version),
        ("panda.toml", "[deploy]\nrelease = \"sleep 3\"\n"),
    ])
}
