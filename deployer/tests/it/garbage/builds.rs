//! Builds, their files and images; certificates and rows.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use panda_domain::ids::BuildId;
use panda_jobs::{Outcome, Reconciler};
use panda_store::{NewBuild, NewRelease};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::{DAY, Yard, almost};

/// Makes a build with image `digit`, a log and a release.
async fn build(yard: &Yard, digit: char) -> BuildId {
    let mut tx = yard.rig.store().begin().await.unwrap();
    let new = NewBuild {
        team: yard.rig.team.id.clone(),
        placement: yard.rig.placement.clone(),
        deployment: yard.rig.store().ids().next(),
        build_key: digit.to_string(),
    };
    let build = tx.insert_build(&new).await.unwrap().id;
    tx.finish_build(&build, "acme/shop", &digest(digit).parse().unwrap(), "{}", "{}").await.unwrap();
    tx.commit().await.unwrap();
    std::fs::write(yard.log(&build), "built\n").unwrap();
    yard.release(|mut release| {
        release.image.digest = digest(digit).parse().unwrap();
        release.image.own_registry = true;
        NewRelease { build: Some(build.clone()), ..release }
    })
    .await;
    build
}

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

/// Answers each request as a registry that deletes; returns what it was asked for.
async fn registry(address: SocketAddr) -> Arc<Mutex<Vec<String>>> {
    let listener = TcpListener::bind(address).await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut lines = BufReader::new(&mut stream).lines();
            let first = lines.next_line().await.unwrap().unwrap_or_default();
            while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
            noted.lock().unwrap().push(first.trim_end_matches(" HTTP/1.1").to_owned());
            let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    asked
}

#[tokio::test]
async fn what_the_newest_releases_need_stays_and_the_rest_goes_from_the_registry_once_it_answers() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let yard = Yard::with_registry(&format!("http://{address}")).await;
    yard.rig.deploy_live('1').await;
    let mut builds = Vec::new();
    for digit in ['4', '5', '6'] {
        builds.push(build(&yard, digit).await);
    }
    yard.pass(almost(7 * DAY));
    yard.tidy().await;
    assert!(builds.iter().all(|build| yard.log(build).exists()), "people may still look at them");
    yard.pass(Duration::from_mins(2));
    let outcome = yard.tidy().await;
    assert!(matches!(&outcome, Outcome::Failed { object, .. } if object == "registry"), "{outcome:?}");
    let logs: Vec<bool> = builds.iter().map(|build| yard.log(build).exists()).collect();
    assert_eq!(logs, [false, true, true]);
    let mut tx = yard.rig.store().read().await.unwrap();
    assert_eq!(tx.build(&yard.rig.team.id, &builds[0]).await.unwrap(), None);
    drop(tx);

    let asked = registry(address).await;
    assert_eq!(yard.tidy().await, Outcome::Applied);
    assert_eq!(yard.tidy().await, Outcome::Skipped);
    let manifest = format!("DELETE /v2/acme/shop/manifests/{}", digest('4'));
    assert_eq!(*asked.lock().unwrap(), ["GET /v2/".to_owned(), manifest]);
}

#[tokio::test]
async fn what_a_dead_build_left_unpacked_goes_and_what_is_being_built_stays() {
    let yard = Yard::new().await;
    yard.rig.deploy_live('1').await;
    let ended = build(&yard, '4').await;
    let mut tx = yard.rig.store().begin().await.unwrap();
    let new = NewBuild {
        team: yard.rig.team.id.clone(),
        placement: yard.rig.placement.clone(),
        deployment: yard.rig.store().ids().next(),
        build_key: "k".to_owned(),
    };
    let running = tx.insert_build(&new).await.unwrap().id;
    tx.commit().await.unwrap();
    let unknown: BuildId = yard.rig.store().ids().next();
    let folder = |build: &BuildId| yard.settings.work.join(build.as_str());
    for build in [&ended, &running, &unknown] {
        std::fs::create_dir_all(folder(build).join("src")).unwrap();
    }
    std::fs::create_dir(yard.settings.work.join("not ours")).unwrap();
    yard.tidy().await;
    let left = [&ended, &running, &unknown].map(|build| folder(build).exists());
    assert_eq!(left, [false, true, false]);
    assert!(yard.settings.work.join("not ours").exists());
}

#[tokio::test]
async fn images_at_the_runtime_stay_while_they_run_or_may_be_wanted_back() {
    let yard = Yard::new().await;
    for digit in ['1', '2', '3'] {
        yard.rig.deploy_live(digit).await;
    }
    yard.tidy().await;
    assert_eq!(yard.rig.fake.images().len(), 3, "they were asked for a moment ago");
    yard.pass(Duration::from_hours(2));
    assert_eq!(yard.tidy().await, Outcome::Applied);
    let mut left: Vec<_> = yard.rig.fake.images().iter().map(ToString::to_string).collect();
    left.sort_unstable();
    assert_eq!(left, [digest('2'), digest('3')]);
    yard.rig.roll_back().await.unwrap();
    yard.rig.pass(12).await;
    assert_eq!(yard.rig.upstreams(), 1);
}

#[tokio::test]
async fn a_certificate_goes_some_days_after_its_last_route() {
    let yard = Yard::new().await;
    let mut tx = yard.rig.store().begin().await.unwrap();
    let hosts = ["panda.localhost", "shop.localhost", "gone.example.com"];
    for host in hosts {
        tx.ensure_certificate(host).await.unwrap();
    }
    tx.commit().await.unwrap();
    let left = async || -> Vec<String> {
        let mut tx = yard.rig.store().read().await.unwrap();
        tx.all_certificates().await.unwrap().into_iter().map(|row| row.host).collect()
    };
    yard.tidy().await;
    yard.pass(almost(7 * DAY));
    yard.tidy().await;
    assert_eq!(left().await.len(), 3);
    yard.pass(Duration::from_mins(1));
    assert_eq!(yard.garbage.activate().await, Outcome::Applied);
    assert_eq!(left().await, hosts[..2]);
}

#[tokio::test]
async fn progress_and_jobs_go_after_their_time_and_what_serves_is_untouched() {
    let yard = Yard::new().await;
    let id = yard.rig.deploy_live('1').await;
    let way = async || {
        let mut tx = yard.rig.store().read().await.unwrap();
        tx.progress_after(&id, 0, 100).await.unwrap().len()
    };
    let whole = way().await;
    assert!(whole > 0);
    yard.pass(almost(DAY));
    yard.tidy().await;
    assert_eq!(way().await, whole);
    yard.pass(Duration::from_mins(2));
    yard.tidy().await;
    assert_eq!(way().await, 0);
    assert_eq!(yard.rig.state(&id).await, "live");
    assert_eq!(yard.rig.upstreams(), 1);
}
