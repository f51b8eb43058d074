//! From a directory to a live URL: builds, what they reuse, and how they fail.

use std::time::{Duration, Instant};

use panda_api_types::Deployment;
use panda_e2e::{App, Installation, Source, on_both_runtimes, story, tree};

on_both_runtimes!(one_changed_line_is_live_without_a_failed_request_and_the_same_source_is_no_release);

async fn one_changed_line_is_live_without_a_failed_request_and_the_same_source_is_no_release(
    panda: &Installation,
) -> anyhow::Result<()> {
    let source = Source::sample("hello-node")?;
    let app = App::create(panda, "hello").await?;
    app.deploy_source(&source).await?;
    app.answers("/", "hello from v1 (v1)\n").await?;

    let prober = app.probe()?;
    source.change("server.js", "'v1'", "'v2'")?;
    app.deploy_source(&source).await?;
    prober.until_answers("hello from v2 (v2)", Duration::from_secs(10)).await?;

    let again = app.ask(&tree(&app.upload(&source).await?)).await?;
    assert!(again.unchanged && again.deployment.is_none(), "{again:?}");
    assert_eq!(app.releases().await?.len(), 2);

    // A source that was built before isn't built again.
    source.change("server.js", "'v2'", "'v1'")?;
    let back = app.deploy_source(&source).await?;
    assert_eq!(app.releases().await?.first().map(|r| r.number), back.release);
    let images: Vec<String> = app.releases().await?.iter().map(|release| release.image.clone()).collect();
    assert_eq!(images.first(), images.last(), "the first source's image wasn't used again");
    prober.stop().assert_no_failures();
    Ok(())
}

#[test]
fn applications_with_npm_and_pip_dependencies_and_a_static_site_deploy_unchanged() {
    story(async |panda| {
        for (sample, says) in [
            ("npm-express", "npm-express v1"),
            ("pip-flask", "pip-flask v1"),
            ("static-site", "static-site v1"),
        ] {
            let app = App::create(panda, sample).await?;
            app.deploy_source(&Source::sample(sample)?).await?;
            let (status, body) = app.fetch("/").await?;
            assert!(status == 200 && body.contains(says), "{sample}: {status} {body}");
        }
        Ok(())
    });
}

#[test]
fn a_build_that_hangs_is_gone_two_seconds_after_its_cancel() {
    story(async |panda| {
        let app = App::create(panda, "hangs").await?;
        let uploaded = app.upload(&Source::sample("build-hangs")?).await?;
        let id = app.begin(&tree(&uploaded)).await?;
        app.until(&id, |deployment| deployment.state == "building").await?;
        let path = app.path(&format!("/deployments/{id}"));
        until_log(panda, &format!("{path}/log"), "hanging").await?;
        // The step's name says it too, a moment before its process is there.
        let patience = Instant::now();
        while processes_with("sleep\x004711").is_empty() {
            assert!(
                patience.elapsed() < Duration::from_secs(20),
                "the step's process can't be seen from here"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        let begun = Instant::now();
        panda.api().poke(&format!("{path}/cancel")).await?;
        let ended = app.end(&id).await?;
        assert_eq!(ended.state, "canceled", "{ended:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "cancelled after {:?}", begun.elapsed());
        while !processes_with("sleep\x004711").is_empty() {
            assert!(
                begun.elapsed() < Duration::from_secs(2),
                "the step still runs {:?} after the cancel",
                begun.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    });
}

/// Returns the processes of this machine whose command line begins so.
fn processes_with(text: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .filter(|line| line.starts_with(text))
        .collect()
}

async fn until_log(panda: &panda_e2e::Installation, path: &str, text: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let log = panda.api().text(path).await.unwrap_or_default();
        if log.contains(text) {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_mins(2), "`{text}` isn't in the log:\n{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_build_that_fails_names_its_class_and_the_old_release_serves_on() {
    story(async |panda| {
        let source = Source::sample("hello-node")?;
        let app = App::create(panda, "mixed").await?;
        app.deploy_source(&source).await?;
        let prober = app.probe()?;

        let failed = deploy_any(&app, &Source::sample("build-fails")?).await?;
        expect(&failed, "build_failed", "P109");
        assert!(failed.log.iter().any(|line| line.contains("TS2322")), "{failed:?}");
        assert_eq!(failed.serving_release, Some(1));

        let nothing = deploy_any(&app, &Source::of(&[("README.md", "# nothing to run\n")])?).await;
        match nothing {
            Ok(ended) => expect(&ended, "build_failed", "P101"),
            Err(refused) => assert!(refused.to_string().contains("start"), "{refused}"),
        }
        prober.stop().assert_only("hello from v1 (v1)");
        Ok(())
    });
}

#[test]
fn a_build_that_eats_its_memory_is_killed_and_says_so_while_the_app_serves() {
    story(async |panda| {
        let app = App::create(panda, "greedy").await?;
        app.deploy_source(&Source::sample("hello-node")?).await?;
        let prober = app.probe()?;
        let failed = deploy_any(&app, &Source::sample("build-eats-memory")?).await?;
        expect(&failed, "build_failed", "P106");
        prober.stop().assert_only("hello from v1 (v1)");
        Ok(())
    });
}

on_both_runtimes!(a_release_command_runs_before_traffic_moves_and_its_failure_moves_none);

async fn a_release_command_runs_before_traffic_moves_and_its_failure_moves_none(
    panda: &Installation,
) -> anyhow::Result<()> {
    let source = Source::sample("hello-node")?;
    let app = App::create(panda, "migrates").await?;
    source.write("panda.toml", "[deploy]\nrelease = \"node -e \\\"console.log('migrated')\\\"\"\n")?;
    app.deploy_source(&source).await?;

    let prober = app.probe()?;
    source.change("server.js", "'v1'", "'v2'")?;
    source.write("panda.toml", "[deploy]\nrelease = \"node -e \\\"process.exit(7)\\\"\"\n")?;
    let failed = deploy_any(&app, &source).await?;
    expect(&failed, "release_failed", "P301");
    assert!(failed.cause.as_deref().unwrap_or_default().contains("code 7"), "{failed:?}");
    prober.stop().assert_only("hello from v1 (v1)");
    Ok(())
}

async fn deploy_any(app: &App<'_>, source: &Source) -> anyhow::Result<Deployment> {
    let uploaded = app.upload(source).await?;
    app.deploy(&tree(&uploaded)).await
}

/// Demands an end with a class, a cause and a fix.
#[track_caller]
fn expect(deployment: &Deployment, state: &str, code: &str) {
    assert_eq!(
        (deployment.state.as_str(), deployment.failure_code.as_deref()),
        (state, Some(code)),
        "{deployment:#?}"
    );
    assert!(deployment.cause.as_deref().is_some_and(|text| !text.is_empty()), "{deployment:#?}");
    assert!(deployment.fix.as_deref().is_some_and(|text| !text.is_empty()), "{deployment:#?}");
}
