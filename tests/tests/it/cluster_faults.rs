//! A cluster in trouble: the old version serves without a failed request, and every deploy ends as it should.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use panda_api_types::Status;
use panda_e2e::{
    App, Database, Installation, Options, SecondServer, cluster_story, cluster_story_with, image, long,
};
use panda_test_support::api_gateway::{ApiGateway, Trouble};
use panda_test_support::process::Daemon;

use crate::kills;

/// The server's own way to the API server.
pub(crate) struct Way {
    pub(crate) gateway: ApiGateway,
    _proxy: Daemon,
}

impl Way {
    /// Opens it and lets the server use it from its next start on.
    pub(crate) async fn open(panda: &Installation) -> anyhow::Result<Self> {
        let cluster = panda.cluster.as_ref().context("there is a cluster")?;
        let proxy = cluster.proxy(&panda.folder.join("kubectl-proxy.log")).await?;
        let gateway = ApiGateway::start(proxy.1).await?;
        let kubeconfig = panda.folder.join("gateway.kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster:\n    server: http://{}\ncontexts:\n- name: c\n  context:\n    cluster: c\n    user: u\nusers:\n- name: u\n  user: {{}}\n",
            gateway.address
        );
        fs::write(&kubeconfig, text)?;
        panda.terminate_server().await?;
        panda.set("PANDA_KUBERNETES__KUBECONFIG", &kubeconfig.display().to_string());
        panda.start_server().await?;
        Ok(Self { gateway, _proxy: proxy.0 })
    }
}

/// Deploys v2 over v1 while the API server is in trouble for some seconds, from the moment that the deployment is in this state.
async fn through(panda: &Installation, trouble: Trouble, state: &str, lasts: Duration) -> anyhow::Result<()> {
    let way = Way::open(panda).await?;
    let app = App::create(panda, &format!("through-{state}")).await?;
    let mut first = image(panda, "v1");
    first.overrides.replicas = Some(2);
    app.deploy_live(&first).await?;
    let prober = app.probe()?;
    prober.until_answers("v1", Duration::from_secs(10)).await?;
    let id = app.begin(&image(panda, "v2")).await?;
    if state != "queued" {
        app.until(&id, |deployment| deployment.state == state).await?;
    }
    way.gateway.take_seen();
    way.gateway.make(trouble);
    tokio::time::sleep(lasts).await;
    way.gateway.make(Trouble::None);
    let asked = way.gateway.take_seen().into_iter().filter(|one| one.trouble == trouble).count();
    if trouble == Trouble::Busy {
        // 16 calls at a time and a dozen watches, each asked again after a second: no storm.
        anyhow::ensure!((1..=200).contains(&asked), "{asked} requests in {lasts:?} of a busy server");
    }
    let ended = app.end(&id).await?;
    assert_eq!(ended.state, "live", "{trouble:?} while {state}: {ended:#?}");
    prober.until_answers("v2", Duration::from_secs(20)).await?;
    app.settle(2).await?;
    prober.stop().assert_no_failures();
    Ok(())
}

fn trouble(trouble: Trouble, state: &str, lasts: Duration) {
    cluster_story(async |panda| through(panda, trouble, state, lasts).await);
}

#[test]
fn an_api_server_that_is_away_during_a_deploy_costs_time_and_no_request() {
    trouble(Trouble::Away, "rolling", Duration::from_secs(6));
}

#[test]
fn an_api_server_that_is_away_in_any_state_of_a_deploy_costs_time_and_no_request() {
    if !long() {
        return; // the full matrix: make test-long
    }
    cluster_story(async |panda| {
        let way = Way::open(panda).await?;
        for state in kills::STATES {
            kills::trouble(panda, state, Duration::from_secs(30), async |_| {
                way.gateway.make(Trouble::Away);
                tokio::time::sleep(Duration::from_secs(6)).await; // so long is it away
                way.gateway.make(Trouble::None);
                Ok(())
            })
            .await?;
        }
        Ok(())
    });
}

#[test]
fn an_api_server_that_is_slow_by_five_seconds_costs_time_and_no_request() {
    trouble(Trouble::Slow(Duration::from_secs(5)), "queued", Duration::from_secs(20));
}

#[test]
fn an_api_server_that_is_too_busy_is_asked_again_when_it_says() {
    trouble(Trouble::Busy, "queued", Duration::from_secs(5));
}

#[test]
fn watches_that_the_api_server_has_forgotten_are_begun_anew() {
    cluster_story(async |panda| {
        let way = Way::open(panda).await?;
        let app = App::create(panda, "web").await?;
        app.deploy_live(&image(panda, "v1")).await?;
        let prober = app.probe()?;
        prober.until_answers("v1", Duration::from_secs(10)).await?;
        // Every watch ends, and none goes on where it was.
        way.gateway.take_seen();
        way.gateway.make(Trouble::Forgetful);
        tokio::time::sleep(Duration::from_secs(3)).await; // some tries
        way.gateway.make(Trouble::None);
        let seen = way.gateway.take_seen();
        let refused = seen.iter().filter(|one| one.is_watch() && one.trouble == Trouble::Forgetful).count();
        assert!(refused >= 5, "only {refused} watches were told 410");
        app.deploy_live(&image(panda, "v2")).await?;
        prober.until_answers("v2", Duration::from_secs(20)).await?;
        prober.stop().assert_no_failures();
        Ok(())
    });
}

#[test]
fn nothing_is_asked_of_an_idle_cluster_but_watches() {
    cluster_story(async |panda| {
        let way = Way::open(panda).await?;
        let app = App::create(panda, "web").await?;
        app.deploy_live(&image(panda, "v1")).await?;
        app.settle(1).await?;
        tokio::time::sleep(Duration::from_secs(10)).await; // what the deploy left to do
        way.gateway.take_seen();
        tokio::time::sleep(Duration::from_mins(1)).await; // the minute
        let (watches, asked): (Vec<_>, Vec<_>) =
            way.gateway.take_seen().into_iter().partition(panda_test_support::api_gateway::Seen::is_watch);
        assert!(!watches.is_empty(), "the gateway sees nothing");
        assert!(asked.is_empty(), "{asked:#?}");
        Ok(())
    });
}

#[test]
fn a_quota_that_is_used_up_is_told_and_the_old_version_serves() {
    let settings = [("PANDA_KUBERNETES__QUOTA_PODS".to_owned(), "2".to_owned())];
    cluster_story_with(
        |_| Ok(Options { settings: settings.into(), ..Options::default() }),
        async |panda| {
            let app = App::create(panda, "web").await?;
            let mut first = image(panda, "v1");
            first.overrides.replicas = Some(2);
            app.deploy_live(&first).await?;
            let prober = app.probe()?;
            prober.until_answers("v1", Duration::from_secs(10)).await?;
            let ended = app.deploy(&image(panda, "v2")).await?;
            assert_eq!(ended.state, "unhealthy", "{ended:#?}");
            assert!(ended.cause.as_deref().unwrap_or_default().contains("quota"), "{ended:#?}");
            app.settle(2).await?;
            prober.stop().assert_only("v1");
            Ok(())
        },
    );
}

#[test]
fn what_somebody_deletes_by_hand_comes_back_and_the_status_says_so_meanwhile() {
    cluster_story(async |panda| {
        let cluster = panda.cluster.as_ref().context("there is a cluster")?;
        let app = App::create(panda, "web").await?;
        app.deploy_live(&image(panda, "v1")).await?;
        for kind in ["pod", "ingress", "service", "deployment"] {
            let namespace = panda.left_on_engine()?.1.first().cloned().context("it has a namespace")?;
            let namespace = namespace.trim_start_matches('/').to_owned();
            cluster.kubectl(&["-n", &namespace, "delete", kind, "--all", "--wait=false"])?;
            let begun = Instant::now();
            app.settle(1).await?;
            app.answers_again("/", "v1\n").await.with_context(|| format!("after the {kind} was deleted"))?;
            anyhow::ensure!(begun.elapsed() < Duration::from_mins(1), "{kind}: {:?}", begun.elapsed());
        }
        let status: Status = panda.api().get(&app.path("/status")).await?;
        assert_eq!(status.app.state.as_str(), "running");
        Ok(())
    });
}

#[test]
fn of_two_servers_either_may_die_in_a_deploy_and_the_other_brings_it_to_its_end() {
    cluster_story_with(
        |_| Ok(Options { database: Database::Postgres, ..Options::default() }),
        async |panda| {
            let second = SecondServer::start(panda).await?;
            for (name, first_dies) in [("one", true), ("two", false)] {
                let app = App::create(panda, name).await?;
                let mut first = image(panda, "v1");
                first.overrides.replicas = Some(2);
                app.deploy_live(&first).await?;
                let prober = app.probe()?;
                prober.until_answers("v1", Duration::from_secs(10)).await?;
                let id = app.begin(&image(panda, "v2")).await?;
                app.until(&id, |deployment| deployment.state == "rolling").await?;
                if first_dies {
                    panda.kill9_server();
                    second.until_live(&app.path(&format!("/deployments/{id}"))).await?;
                    panda.start_server().await?;
                } else {
                    second.kill9();
                    assert_eq!(app.end(&id).await?.state, "live");
                }
                prober.until_answers("v2", Duration::from_secs(20)).await?;
                app.settle(2).await?;
                prober.stop().assert_no_failures();
                assert_eq!(app.releases().await?.len(), 2, "one release too many");
            }
            Ok(())
        },
    );
}

#[test]
fn doctor_finds_nothing_wrong_with_a_cluster_that_is_right_and_names_what_is_wrong() {
    cluster_story(async |panda| {
        let well = panda.operate(&["doctor"]).await?;
        assert_eq!(well.code, Some(0), "{well:?}");
        for name in [
            "Kubernetes",
            "rights",
            "ingress class",
            "storage class",
            "metrics",
            "DNS",
            "clock",
            "buildkitd",
            "registry",
        ] {
            let line = well.stdout.lines().find(|line| line.contains(name));
            let line = line.with_context(|| format!("no look at {name}:\n{}", well.stdout))?;
            assert!(line.starts_with("ok"), "{line}");
        }
        panda.set("PANDA_KUBERNETES__INGRESS_CLASS", "nobody");
        panda.set("PANDA_REGISTRY__OWN_URL", "http://127.0.0.1:9");
        let ill = panda.operate(&["doctor"]).await?;
        assert_ne!(ill.code, Some(0), "{ill:?}");
        for wrong in ["there is no class `nobody`", "connect to 127.0.0.1:9"] {
            assert!(ill.stdout.contains(wrong), "{wrong} isn't said:\n{}", ill.stdout);
        }
        Ok(())
    });
}
