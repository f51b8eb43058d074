//! The same path by the real `panda`: every verb that a person uses on the first day.

use panda_api_types::{Page, Release};
use panda_e2e::{App, Installation, Source, image, on_both_runtimes, story};
use serde_json::Value;

/// Returns the last line of a `--json` output.
fn last_line(output: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(output.lines().last().unwrap_or_default())?)
}

on_both_runtimes!(the_command_line_takes_a_directory_from_its_first_deploy_to_its_end);

async fn the_command_line_takes_a_directory_from_its_first_deploy_to_its_end(
    panda: &Installation,
) -> anyhow::Result<()> {
    let source = Source::sample("hello-node")?;
    let folder = source.path();
    let run = async |arguments: &[&str]| panda.cli_ok(folder, arguments).await;

    let first = run(&["deploy", "--create", "-a", "hello", "--replicas", "3", "--json"]).await?;
    let end = last_line(&first)?;
    assert_eq!((end["state"].as_str(), end["release"].as_u64()), (Some("live"), Some(1)), "{first}");
    assert!(end["url"].as_str().is_some_and(|url| url.starts_with("https://hello.")), "{first}");

    // From here on the directory is linked, or named.
    let app = ["-a", "hello"];
    let on = |verb: &[&'static str]| [verb, &app[..]].concat();
    let unchanged = last_line(&run(&on(&["deploy", "--json"])).await?)?;
    assert_eq!(unchanged["release"].as_u64(), Some(1), "the same source made a release: {unchanged}");
    source.change("server.js", "'v1'", "'v2'")?;
    run(&on(&["deploy"])).await?;
    assert!(run(&on(&["releases"])).await?.contains("v2"));
    assert!(run(&on(&["ps"])).await?.matches("ready").count() >= 3);
    run(&on(&["rollback"])).await?;
    run(&on(&["env", "set", "COLOUR=blue"])).await?;
    assert_eq!(run(&on(&["env", "get", "COLOUR"])).await?.trim(), "blue");
    run(&on(&["scale", "1"])).await?;
    assert!(run(&on(&["logs", "-n", "50"])).await?.contains("hello-node"));
    assert!(panda.cli_ok(folder, &["exec", "-a", "hello", "--", "node", "-p", "6*7"]).await?.contains("42"));
    assert!(
        panda
            .cli_ok(folder, &["run", "-a", "hello", "--", "node", "-p", "process.env.COLOUR"])
            .await?
            .contains("blue")
    );
    let failed = panda.cli(folder, &["run", "-a", "hello", "--", "node", "-e", "process.exit(9)"]).await?;
    assert_ne!(failed.code, Some(0), "a failed run exits 0");
    assert!(run(&on(&["releases", "diff", "v1", "v2"])).await?.contains("image"));
    assert!(run(&on(&["status"])).await?.contains("hello"));
    run(&on(&["events"])).await?;
    assert!(run(&on(&["manifest"])).await?.contains("hello"));
    run(&on(&["restart"])).await?;

    let typo = panda.cli(folder, &["deplyo"]).await?;
    assert!(typo.code == Some(2) && typo.stderr.contains("deploy"), "{typo:?}");
    let nobody = panda.cli(folder, &["status", "-a", "nobody"]).await?;
    assert!(nobody.code == Some(3) && nobody.stderr.contains("error:"), "{nobody:?}");

    run(&["destroy", "hello", "--confirm", "hello"]).await?;
    panda.until_nothing_is_left().await
}

#[test]
fn a_deploy_that_fails_says_cause_and_fix_and_exits_by_its_kind() {
    story(async |panda| {
        let source = Source::sample("build-fails")?;
        let failed = panda.cli(source.path(), &["deploy", "--create", "-a", "broken"]).await?;
        assert_eq!(failed.code, Some(10), "{failed:?}");
        assert!(failed.stderr.contains("error:") && failed.stderr.contains("hint:"), "{failed:?}");
        source.write("panda.toml", "[deploy]\nrelaese = \"x\"\n")?;
        let wrong = panda.cli(source.path(), &["deploy", "-a", "broken"]).await?;
        assert_eq!(wrong.code, Some(6), "{wrong:?}");
        assert!(wrong.stderr.contains("relaese") && wrong.stderr.contains("release"), "{wrong:?}");
        Ok(())
    });
}

#[test]
fn a_new_user_who_makes_mistakes_is_told_what_is_so_and_what_to_do() {
    story(async |panda| {
        let source = Source::of(&[("readme.txt", "nothing to start")])?;
        let folder = source.path();
        let run = async |arguments: &[&str]| panda.cli(folder, arguments).await;
        let told = async |arguments: &[&str], code: i32, words: &[&str]| {
            let done = run(arguments).await?;
            anyhow::ensure!(done.code == Some(code), "panda {arguments:?}: {done:?}");
            let text = format!("{}{}", done.stdout, done.stderr);
            for word in words {
                anyhow::ensure!(text.contains(word), "panda {arguments:?} doesn't say `{word}`: {text}");
            }
            anyhow::Ok(())
        };

        // Before anything is there.
        told(&["ps"], 3, &["no app is linked", "panda link APP"]).await?;
        told(&["ps", "-a", "nobody"], 3, &["there is no app `nobody`"]).await?;
        told(&["link", "nobody"], 3, &["there is no app `nobody`", "panda apps list"]).await?;
        told(&["doctor", "nobody"], 3, &["there is no app `nobody`"]).await?;
        told(&["deploy", "-a", "shop"], 3, &["there is no app `shop`", "--create"]).await?;
        told(&["apps", "create", "Shop_1"], 6, &["`shop-1` would do"]).await?;
        told(&["apps", "create", "shop"], 0, &["made app `shop`"]).await?;
        told(&["link", "shpo"], 3, &["did you mean `shop`?"]).await?;
        told(&["link", "shop"], 0, &["from now on"]).await?;
        told(&["ps", "-e", "stagign"], 3, &["isn't in the environment `stagign`", "production"]).await?;
        told(&["rollback"], 5, &["no earlier release"]).await?;
        told(&["scale", "3"], 5, &["was never deployed"]).await?;
        told(&["run", "ls"], 5, &["nothing is deployed yet"]).await?;
        told(&["exec", "ls"], 5, &["no instance is ready"]).await?;
        told(&["doctor"], 0, &["nothing is deployed yet"]).await?;
        told(&["releases", "diff", "v1", "v2"], 3, &["there is no such release", "panda releases"]).await?;
        told(&["deploy"], 10, &["P101", "/docs/errors/P101"]).await?;

        let image = image(panda, "v1").image.unwrap_or_default();
        told(&["deploy", "--image", &image], 0, &["live v1"]).await?;
        told(&["rollback"], 5, &["no earlier release"]).await?;
        told(&["rollback", "v9"], 3, &["there is no such release"]).await?;
        told(&["releases", "diff", "v1"], 0, &["don't differ"]).await?;
        told(&["logs", "-p", "wbe"], 3, &["`shop` has no process `wbe`", "did you mean `web`?"]).await?;
        told(&["exec", "-p", "wbe", "ls"], 3, &["`shop` has no process `wbe`"]).await?;
        told(&["exec", "nosuch", "-x"], 127, &["`nosuch` isn't in the image"]).await?;
        told(&["run", "nosuch", "-x"], 127, &["nosuch"]).await?;
        told(&["env", "unset", "NOPE"], 0, &["`NOPE` isn't set", "nothing changed"]).await?;
        told(&["env", "set", "--secret", "KEY=s3cret", "--no-deploy"], 0, &["added KEY"]).await?;
        told(&["env", "get", "KEY"], 4, &["never shown"]).await?;
        told(&["env", "get", "KYE"], 3, &["did you mean `KEY`?"]).await?;
        told(&["domains", "add", "panda.localhost"], 6, &["belongs to the platform"]).await?;
        told(&["scale", "web=99999"], 2, &["0 to 1000"]).await?;
        told(&["deploy", "--replicas", "-1"], 2, &["`-1` is no number of instances"]).await?;
        let releases: Page<Release> = panda.api().get("/apps/shop/releases").await?;
        anyhow::ensure!(releases.items.len() == 1, "a mistake made a release: {releases:?}");

        // Scaled to 0 it is stopped, not broken, and says what would run.
        told(&["scale", "0"], 0, &["0"]).await?;
        App::find(panda, "shop").await?.settle(0).await?;
        told(&["status"], 0, &["stopped", "release     v1", "scaled to 0, each 1 core"]).await?;
        let doctor = run(&["doctor"]).await?;
        anyhow::ensure!(doctor.code == Some(0) && doctor.stdout.contains("scaled to 0"), "{doctor:?}");
        let mut lines: Vec<&str> = doctor.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
        lines.sort_unstable();
        let all = lines.len();
        lines.dedup();
        anyhow::ensure!(lines.len() == all, "doctor says something twice: {}", doctor.stdout);
        told(&["exec", "ls"], 5, &["no instance is ready"]).await?;

        panda.terminate_server().await?;
        told(&["ps"], 7, &["can't reach", "is the server running"]).await?;
        panda.start_server().await
    });
}
