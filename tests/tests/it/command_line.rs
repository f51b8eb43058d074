//! The same path by the real `panda`: every verb that a person uses on the first day.

use panda_e2e::{Source, story};
use serde_json::Value;

/// Returns the last line of a `--json` output.
fn last_line(output: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(output.lines().last().unwrap_or_default())?)
}

#[test]
fn the_command_line_takes_a_directory_from_its_first_deploy_to_its_end() {
    story(async |panda| {
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
        assert!(
            panda.cli_ok(folder, &["exec", "-a", "hello", "--", "node", "-p", "6*7"]).await?.contains("42")
        );
        assert!(
            panda
                .cli_ok(folder, &["run", "-a", "hello", "--", "node", "-p", "process.env.COLOUR"])
                .await?
                .contains("blue")
        );
        let failed =
            panda.cli(folder, &["run", "-a", "hello", "--", "node", "-e", "process.exit(9)"]).await?;
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
    });
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
