//! Parts that are away, wrong or full: the apps serve, the error names the part, and all goes on once it is back.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use panda_api_types::{DeployRequest, Deployment, ErrorCode};
use panda_e2e::proxy::Proxy;
use panda_e2e::{App, Database, Options, Source, image, story, story_with, tree};
use panda_test_support::process::Program;

use crate::rolling::slow_source;

#[test]
fn apps_serve_while_the_whole_control_plane_is_off_and_the_edge_starts_alone_from_disk() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        app.deploy_live(&image(panda, "v1")).await?;
        let prober = app.probe()?;
        panda.kill9_server();
        tokio::time::sleep(Duration::from_secs(5)).await; // long enough for a lease or a heartbeat to be missed
        prober.stop().assert_only("v1");

        panda.kill9_edge();
        panda.start_edge().await?;
        let prober = app.probe()?;
        tokio::time::sleep(Duration::from_secs(2)).await; // some hundred requests
        prober.stop().assert_only("v1");

        panda.start_server().await?;
        app.deploy_live(&image(panda, "v2")).await?;
        assert_eq!(app.fetch("/").await?, (200, "v2\n".into()));
        Ok(())
    });
}

#[test]
fn a_builder_that_is_away_is_named_and_the_next_deploy_after_its_return_works() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        app.deploy_source(&Source::sample("hello-node")?).await?;
        let prober = app.probe()?;
        let address = panda.ground.buildkit.clone();
        panda.terminate_server().await?;
        panda
            .set("PANDA_BUILDER__ADDRESS", &format!("unix://{}", panda.folder.join("nobody.sock").display()));
        panda.start_server().await?;

        let source = Source::sample("hello-node")?;
        source.change("server.js", "'v1'", "'v2'")?;
        let id = app.begin(&tree(&app.upload(&source).await?)).await?;
        let ended = tokio::time::timeout(Duration::from_secs(100), app.end(&id)).await;
        if let Ok(ended) = ended {
            let ended = ended?;
            assert_eq!(
                (ended.state.as_str(), ended.failure_code.as_deref()),
                ("build_failed", Some("P111")),
                "{ended:#?}"
            );
        } else {
            // It waits for the builder: within its deadline, and it says so.
            assert_eq!(app.deployment(&id).await?.state, "building");
        }
        panda.terminate_server().await?;
        panda.set("PANDA_BUILDER__ADDRESS", &address);
        panda.start_server().await?;
        source.change("server.js", "'v2'", "'v3'")?;
        app.deploy_source(&source).await?;
        assert!(app.fetch("/").await?.1.starts_with("hello from v3"));
        prober.stop().assert_no_failures();
        Ok(())
    });
}

#[test]
fn a_registry_that_is_away_is_named_and_the_old_release_serves() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        app.deploy_live(&image(panda, "v1")).await?;
        let prober = app.probe()?;
        panda.terminate_server().await?;
        panda.set("PANDA_REGISTRY__PUSH_URL", "127.0.0.1:9");
        panda.start_server().await?;
        let source = Source::sample("hello-node")?;
        let ended = app.deploy(&tree(&app.upload(&source).await?)).await?;
        assert_eq!(
            (ended.state.as_str(), ended.failure_code.as_deref()),
            ("build_failed", Some("P111")),
            "{ended:#?}"
        );
        assert!(ended.cause.as_deref().unwrap_or_default().contains("registry"), "{ended:#?}");
        prober.stop().assert_only("v1");
        Ok(())
    });
}

#[test]
fn an_image_whose_registry_is_away_is_waited_for_and_the_reason_is_told_meanwhile() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        app.deploy_live(&image(panda, "v1")).await?;
        let prober = app.probe()?;
        panda.terminate_server().await?;
        panda.set("PANDA_REGISTRY__ALLOW_HOSTS", &format!("127.0.0.1:9 {}", panda.ground.image_host()));
        panda.start_server().await?;
        let away = DeployRequest { image: Some("127.0.0.1:9/shop:v2".into()), ..DeployRequest::default() };
        let id = app.begin(&away).await?;
        let reason = |deployment: &Deployment| {
            let step = deployment.step.as_ref()?;
            step.detail.clone().filter(|detail| detail.contains("can't be had from `127.0.0.1:9` yet"))
        };
        let waiting = app.until(&id, |deployment| reason(deployment).is_some()).await?;
        assert_eq!(waiting.state, "queued");
        let told = reason(&waiting).context("it was there")?;
        assert!(told.contains("connection refused") && told.contains("tried since"), "{told}");
        let status = panda.cli_ok(&panda.folder, &["status", "-a", "web"]).await?;
        assert!(status.contains(&told), "{status}");
        panda.api().poke(&app.path(&format!("/deployments/{id}/cancel"))).await?;
        prober.stop().assert_only("v1");
        Ok(())
    });
}

#[test]
fn with_the_wrong_key_no_deploy_gets_an_empty_env() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        app.deploy_live(&image(panda, "v1")).await?;
        app.set_env("SECRET", "swordfish", true).await?;
        let prober = app.probe_at("/env?name=SECRET", 50)?;
        panda.terminate_server().await?;
        let key = panda.folder.join("data/keys/master.key");
        let right = fs::read(&key)?;
        fs::write(&key, wrong_key(&right))?;
        panda.launch_server()?;
        tokio::time::sleep(Duration::from_secs(3)).await; // until it either serves or has ended
        if panda.server_ended().is_none() {
            let refused = app.ask(&image(panda, "v2")).await;
            let accepted = match refused {
                Err(refusal) => {
                    assert_eq!(refusal.code(), Some(ErrorCode::UndecryptableSecrets), "{refusal}");
                    None
                }
                Ok(accepted) => accepted.deployment,
            };
            if let Some(deployment) = accepted {
                let ended = app.end(&deployment.id).await?;
                assert_eq!(ended.failure_code.as_deref(), Some("P303"), "{ended:#?}");
            }
        } else {
            assert!(panda.server_log().contains("key"), "it ended without naming the key");
        }
        panda.kill9_server();
        fs::write(&key, right)?;
        panda.start_server().await?;
        app.deploy_live(&image(panda, "v2")).await?;
        prober.stop().assert_only("swordfish");
        Ok(())
    });
}

/// Another key of the same form: letters and digits move on by one.
fn wrong_key(right: &[u8]) -> Vec<u8> {
    let next = |byte: u8| match byte {
        b'0'..=b'8' | b'a'..=b'e' => byte + 1,
        b'9' => b'0',
        b'f' => b'a',
        other => other,
    };
    right.iter().copied().map(next).collect()
}

#[test]
fn a_database_that_is_locked_costs_nothing_but_time() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        app.deploy_live(&image(panda, "v1")).await?;
        let prober = app.probe()?;
        let database = panda.folder.join("data/db/panda.db");
        // Another process holds the write lock for longer than a statement may wait.
        let hold = "import sqlite3,sys,time\nc=sqlite3.connect(sys.argv[1],timeout=20)\nc.isolation_level=None\n\
                    c.execute('BEGIN IMMEDIATE')\nprint('held',flush=True)\ntime.sleep(20)\nc.execute('ROLLBACK')\n";
        let log = panda.folder.join("lock.log");
        let holder = Program::new("python3").args(["-c", hold]).args([&database]).start("lock", &log)?;
        while !fs::read_to_string(&log)?.contains("held") {
            anyhow::ensure!(holder.ended().is_none(), "the lock wasn't had: {}", holder.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let refused = app.ask(&image(panda, "v2")).await;
        if let Err(refusal) = &refused {
            assert!(matches!(refusal.code(), Some(ErrorCode::Unavailable | ErrorCode::Timeout)), "{refusal}");
        }
        app.view().await?; // reads go on
        while holder.ended().is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        match refused {
            Ok(accepted) => drop(app.end(&accepted.deployment.context("nothing would change")?.id).await?),
            Err(_) => drop(app.deploy_live(&image(panda, "v2")).await?),
        }
        prober.until_answers("v2", Duration::from_mins(1)).await?;
        prober.stop().assert_no_failures();
        Ok(())
    });
}

#[test]
fn a_full_disk_refuses_writes_plainly_and_heals_by_itself() {
    story_with(
        |_| Ok(Options { small_disk: true, ..Options::default() }),
        async |panda| {
            let app = App::create(panda, "web").await?;
            app.deploy_live(&image(panda, "v1")).await?;
            let prober = app.probe()?;
            let filler = panda.folder.join("data/filler");
            Program::new("dd")
                .args(["if=/dev/zero".into(), format!("of={}", filler.display()), "bs=64k".into()])
                .run(Duration::from_mins(1))
                .await?;
            let refused = app.ask(&image(panda, "v2")).await;
            let refusal = refused.err();
            app.view().await?; // reads go on
            fs::remove_file(&filler)?;
            if let Some(refusal) = &refusal {
                let code = refusal.code();
                assert!(matches!(code, Some(ErrorCode::Unavailable | ErrorCode::Internal)), "{refusal}");
                app.deploy_live(&image(panda, "v2")).await?;
            }
            prober.until_answers("v2", Duration::from_mins(1)).await?;
            prober.stop().assert_no_failures();
            Ok(())
        },
    );
}

#[test]
fn a_builder_that_dies_in_a_build_leaves_a_deploy_that_ends_and_a_next_one_that_works() {
    story(async |panda| {
        let app = App::create(panda, "steps").await?;
        let source = slow_source("v1")?;
        app.deploy_source(&source).await?;
        let prober = app.probe()?;
        let proxy = Proxy::start(&panda.folder.join("builder.sock"), &panda.ground.buildkit)?;
        panda.terminate_server().await?;
        panda.set("PANDA_BUILDER__ADDRESS", &proxy.address());
        panda.start_server().await?;

        source.write("version.txt", "v2")?;
        let id = app.begin(&tree(&app.upload(&source).await?)).await?;
        app.until(&id, |deployment| deployment.state == "building").await?;
        tokio::time::sleep(Duration::from_secs(1)).await; // into the step that takes three
        proxy.cut();
        tokio::time::sleep(Duration::from_secs(3)).await; // the builder is away so long
        proxy.restore();
        let ended = app.end(&id).await?;
        match ended.state.as_str() {
            "live" => {}
            _ => assert_eq!(
                (ended.state.as_str(), ended.failure_code.as_deref()),
                ("build_failed", Some("P111")),
                "{ended:#?}"
            ),
        }
        source.write("version.txt", "v3")?;
        app.deploy_source(&source).await?;
        prober.until_answers("v3", Duration::from_secs(10)).await?;
        prober.stop().assert_no_failures();
        Ok(())
    });
}

#[test]
fn a_postgresql_that_is_gone_is_told_as_unavailable_and_all_goes_on_when_it_is_back() {
    story_with(
        |_| Ok(Options { database: Database::Postgres, ..Options::default() }),
        async |panda| {
            let app = App::create(panda, "web").await?;
            app.deploy_live(&image(panda, "v1")).await?;
            let prober = app.probe()?;
            let database = panda.database().context("it has a database of its own")?;
            let sql =
                |text: String| Program::new("psql").args([&panda.ground.postgres, "-qc", &text]).output();
            sql(format!("alter database {database} allow_connections false"))?;
            sql(format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'"
            ))?;
            let refusal =
                app.ask(&image(panda, "v2")).await.err().context("a deploy was taken without a database")?;
            assert_eq!(refusal.code(), Some(ErrorCode::Unavailable), "{refusal}");
            tokio::time::sleep(Duration::from_secs(3)).await; // reconcilers and jobs meet the hole, too
            sql(format!("alter database {database} allow_connections true"))?;
            let begun = Instant::now();
            while app.view().await.is_err() {
                anyhow::ensure!(
                    begun.elapsed() < Duration::from_secs(30),
                    "the server doesn't find its database again"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            app.deploy_live(&image(panda, "v2")).await?;
            prober.until_answers("v2", Duration::from_secs(10)).await?;
            prober.stop().assert_no_failures();
            Ok(())
        },
    );
}

#[test]
fn a_state_that_lost_its_database_or_its_key_is_refused_and_nothing_is_made_up() {
    refused_without(Database::Sqlite, &["data/db/panda.db", "data/keys/master.key"]);
}

#[test]
fn a_state_in_postgresql_that_lost_its_key_is_refused_and_no_key_is_made_up() {
    refused_without(Database::Postgres, &["data/keys/master.key"]);
}

/// Takes each file away while the server is down: it has to refuse to start, and to go on once the file is back.
fn refused_without(database: Database, files: &[&str]) {
    story_with(
        |_| Ok(Options { database, ..Options::default() }),
        async |panda| {
            let app = App::create(panda, "web").await?;
            app.deploy_live(&image(panda, "v1")).await?;
            app.set_env("SECRET", "swordfish", true).await?;
            let prober = app.probe()?;
            panda.terminate_server().await?;
            for lost in files {
                let (path, kept) = (panda.folder.join(lost), panda.folder.join("kept"));
                fs::rename(&path, &kept)?;
                panda.launch_server()?;
                let begun = Instant::now();
                while panda.server_ended().is_none() {
                    anyhow::ensure!(
                        begun.elapsed() < Duration::from_secs(20),
                        "the server runs without `{lost}`"
                    );
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let said = panda.server_log();
                let last = said.lines().rev().take(6).collect::<Vec<_>>().join("\n");
                assert!(
                    last.contains("error:") && last.contains("hint:"),
                    "without `{lost}` it said only:\n{last}"
                );
                assert!(!path.exists(), "`{lost}` was made up");
                fs::rename(&kept, &path)?;
            }
            panda.start_server().await?;
            app.deploy_live(&image(panda, "v2")).await?;
            prober.until_answers("v2", Duration::from_secs(10)).await?;
            prober.stop().assert_no_failures();
            Ok(())
        },
    );
}
