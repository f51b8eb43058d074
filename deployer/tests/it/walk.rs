//! Random walks: whatever people, failures and time do in whatever order, it settles into something true.

use std::time::Duration;

use panda_deployer::runtime::fake::{Behaviour, Ingress, PullFailure};
use panda_domain::ids::DeploymentId;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng};

use crate::support::Rig;

/// How many walks, unless `PANDA_WALK_SEEDS` says another number.
const SEEDS: u64 = 64;
/// How many walks of the full matrix.
const SEEDS_LONG: u64 = 600;
const STEPS: usize = 30;
const GOOD: [char; 3] = ['1', '2', '3'];
const BAD: [char; 5] = ['4', '5', '6', '7', '8'];
const WITH_RELEASE: &str = "[deploy]\nrelease = \"sh -c 'sleep 3'\"\n";

async fn rig() -> Rig {
    let rig = Rig::new().await;
    for digit in GOOD {
        let delay = Duration::from_secs(u64::from(digit as u32 - '0' as u32) - 1);
        rig.image(digit, Behaviour::ready_after(delay));
    }
    rig.image('4', Behaviour::exits(1));
    rig.image('5', Behaviour::never_ready());
    rig.image('6', Behaviour::out_of_memory(Duration::from_secs(1)));
    rig.image('7', Behaviour::not_pulled(PullFailure::Absent));
    rig.image('8', Behaviour::dies_after(Duration::from_secs(20), 1));
    rig
}

async fn step(rig: &mut Rig, random: &mut SmallRng) -> String {
    match random.random_range(0..16) {
        0..=2 => {
            let digit = GOOD[random.random_range(0..GOOD.len())];
            rig.ask(digit, random.random_bool(0.3).then_some(WITH_RELEASE)).await;
            format!("deploy good {digit}")
        }
        3 | 4 => {
            let digit = BAD[random.random_range(0..BAD.len())];
            rig.ask(digit, None).await;
            format!("deploy bad {digit}")
        }
        5 => match rig.deployments().await.last() {
            Some(newest) => format!("cancel: {}", rig.cancel(&newest.id).await),
            None => "cancel nothing".to_owned(),
        },
        6 => format!("roll back: {}", rig.roll_back().await.is_some()),
        7 => format!("restart: {}", rig.restart().await.is_some()),
        8 => {
            let replicas = random.random_range(0..4);
            rig.scale("web", replicas).await;
            format!("scale {replicas}")
        }
        9 => {
            rig.crash();
            "crash".to_owned()
        }
        10 => {
            rig.fake.set_unavailable(true);
            rig.pass(random.random_range(1..20)).await;
            rig.fake.set_unavailable(false);
            "outage".to_owned()
        }
        11 => {
            rig.fake.fail_after(Some(random.random_range(0..8)));
            rig.turn().await;
            rig.crash();
            rig.fake.fail_after(None);
            "crash between two calls".to_owned()
        }
        12 | 13 => {
            let ingress = if random.random_bool(0.5) { Ingress::Away } else { Ingress::Mute };
            rig.fake.set_ingress(ingress);
            // Now and then for longer than a rollout may take.
            let longest = if random.random_bool(0.2) { 400 } else { 20 };
            let seconds = random.random_range(1..longest);
            rig.pass(seconds).await;
            rig.fake.set_ingress(Ingress::Well);
            format!("{ingress:?} for {seconds} s")
        }
        _ => {
            let seconds = random.random_range(1..15);
            rig.pass(seconds).await;
            format!("{seconds} s")
        }
    }
}

/// Lets everything come to its end, in coarse steps of time.
async fn settle(rig: &Rig) {
    for _ in 0..260 {
        rig.turn().await;
        rig.test.clock.advance(Duration::from_secs(3));
    }
    rig.turn().await;
}

async fn check(rig: &Rig) -> Result<(), String> {
    let all = rig.deployments().await;
    let of = |word: &str| all.iter().filter(|d| d.state.word() == word).count();
    if let Some(active) = all.iter().find(|d| d.state.is_active()) {
        return Err(format!("still {:?}", active.state));
    }
    let row = rig.row().await;
    let serving = row.placement.last_good_release.clone();
    if of("live") != usize::from(serving.is_some()) {
        return Err(format!("{} live, serving {serving:?}", of("live")));
    }
    if row.placement.desired_release != serving {
        return Err("what is desired isn't what serves".to_owned());
    }
    let live = all.iter().find(|d| d.state.word() == "live");
    if live.and_then(|d| d.release.clone()) != serving {
        return Err("what serves isn't what is live".to_owned());
    }
    let runs = rig.runs().await;
    if let Some(orphan) = runs.iter().find(|w| Some(&w.key.release) != serving.as_ref()) {
        return Err(format!("an orphan {:?}", orphan.key));
    }
    let Some(live) = live else { return Ok(()) };
    let release = rig.release_of(&live.id).await;
    let digit = release.image.digest.as_str().chars().last().unwrap();
    // What dies after a while was proven once; with nothing before it, it stays. What went live at no replicas was never
    // tried, but its image was seen.
    let tried = !went_live_at_nothing(rig, &live.id).await;
    if !GOOD.contains(&digit) && digit != '8' && (tried || digit == '7') {
        return Err(format!("`{digit}` serves"));
    }
    if let Some(asked) = rig.fake.removed_while_routed().first() {
        return Err(format!("requests were still sent to {asked:?} when it was removed"));
    }
    let formation = rig.store().read().await.unwrap().formation(&rig.placement).await.unwrap();
    let wished = formation.values().next().map_or(1, |scale| scale.replicas) as usize;
    let instances: usize = runs.iter().map(|w| w.instances.len()).sum();
    if instances != wished || runs.len() > 1 || runs.iter().any(|w| w.key.revision != row.last_good_revision)
    {
        return Err(format!("{wished} wished, {instances} of {} workloads run", runs.len()));
    }
    if GOOD.contains(&digit) && (rig.upstreams() != wished || !row.placement.converged()) {
        return Err(format!("{wished} wished, {} get requests", rig.upstreams()));
    }
    Ok(())
}

async fn went_live_at_nothing(rig: &Rig, id: &DeploymentId) -> bool {
    let steps = rig.store().read().await.unwrap().progress_after(id, 0, 500).await.unwrap();
    let last = steps.iter().rev().find(|row| row.body["key"] == "rollout/web");
    last.is_some_and(|row| row.body["detail"] == "0 of 0 ready")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_it_settles_into_what_is_true() {
    let long = std::env::var("PANDA_TEST_LONG").is_ok_and(|value| value == "1");
    let seeds = std::env::var("PANDA_WALK_SEEDS").ok().and_then(|n| n.parse().ok());
    let seeds = seeds.unwrap_or(if long { SEEDS_LONG } else { SEEDS });
    let mut walks = tokio::task::JoinSet::new();
    for half in 0..2 {
        walks.spawn(async move {
            for seed in (0..seeds).filter(|seed| seed % 2 == half) {
                walk(seed).await;
            }
        });
    }
    while let Some(walked) = walks.join_next().await {
        walked.unwrap();
    }
}

async fn walk(seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut rig = rig().await;
    let mut steps = Vec::new();
    for _ in 0..STEPS {
        steps.push(step(&mut rig, &mut random).await);
        if random.random_bool(0.5) {
            rig.turn().await;
        }
    }
    settle(&rig).await;
    if let Err(wrong) = check(&rig).await {
        let all: Vec<_> =
            rig.deployments().await.into_iter().map(|d| (d.sequence, d.trigger, d.state.word())).collect();
        panic!("seed {seed}: {wrong}\nafter {steps:?}\n{all:?}");
    }
}
