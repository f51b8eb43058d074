//! The same comparisons on a cluster, with `kubectl` as the rival.

use std::time::{Duration, Instant};

use panda_e2e::{App, Installation, Source, image};

use crate::by_hand::REPLICAS;
use crate::cases::{change, flip, phases, reference, timed};
use crate::kubectl::Kubectl;
use crate::pair::{Pair, ours_first};

/// Measures the wished parts: `change`, `image`, `rollback`, `scale`.
pub(crate) async fn run(
    panda: &Installation,
    rounds: usize,
    wants: &impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    if wants("image") || wants("rollback") || wants("scale") {
        pairs.extend(images(panda, rounds, wants).await?);
    }
    if wants("change") {
        pairs.push(sources(panda, rounds).await?);
    }
    Ok(pairs)
}

async fn images(
    panda: &Installation,
    rounds: usize,
    wants: &impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<Pair>> {
    let app = App::create(panda, "bench-image").await?;
    let mut first = image(panda, "v2");
    first.overrides.replicas = Some(u32::try_from(REPLICAS)?);
    app.deploy_live(&first).await?;
    app.deploy_live(&image(panda, "v1")).await?;
    let hand = Kubectl::start(panda, "bench-image", &reference(panda, "v2")).await?;
    hand.deploy_image(&reference(panda, "v1"), "v1").await?;
    let folder = tempfile::tempdir()?;
    let (mut ours_new, mut theirs_new) = (false, false);
    let mut pairs = Vec::new();
    if wants("image") {
        let mut pair = Pair::new("image deploy (cluster)", 1.15);
        for round in 0..rounds {
            for ours in turns(round) {
                let tag = flip(if ours { &mut ours_new } else { &mut theirs_new });
                let image = reference(panda, tag);
                if ours {
                    let arguments = ["deploy", "-a", &app.name, "--image", &image];
                    pair.ours(
                        timed(panda, &app, folder.path(), &arguments, |_, body| body.trim() == tag).await?,
                    );
                    pair.phases.push(phases(panda, &app).await?);
                } else {
                    pair.theirs(hand.deploy_image(&image, tag).await?);
                }
            }
        }
        pairs.push(pair);
    }
    if wants("rollback") {
        let mut pair = Pair::new("rollback (cluster)", 1.1);
        for round in 0..rounds {
            for ours in turns(round) {
                let tag = flip(if ours { &mut ours_new } else { &mut theirs_new });
                if ours {
                    let arguments = ["rollback", "-a", &app.name];
                    pair.ours(
                        timed(panda, &app, folder.path(), &arguments, |_, body| body.trim() == tag).await?,
                    );
                    pair.phases.push(phases(panda, &app).await?);
                } else {
                    pair.theirs(hand.undo(tag).await?);
                }
            }
        }
        pairs.push(pair);
    }
    if wants("scale") {
        pairs.push(scale(panda, &app, &hand, rounds).await?);
    }
    app.destroy().await?;
    Ok(pairs)
}

/// From three to six; the way back isn't counted.
async fn scale(
    panda: &Installation,
    app: &App<'_>,
    hand: &Kubectl<'_>,
    rounds: usize,
) -> anyhow::Result<Pair> {
    let mut pair = Pair::new("scale (cluster)", 1.1);
    let folder = tempfile::tempdir()?;
    for round in 0..rounds {
        for ours in turns(round) {
            if ours {
                pair.ours(scaled(panda, app, folder.path(), 2 * REPLICAS).await?);
                scaled(panda, app, folder.path(), REPLICAS).await?;
            } else {
                pair.theirs(hand.scale(2 * REPLICAS).await?);
                hand.scale(REPLICAS).await?;
            }
        }
    }
    Ok(pair)
}

async fn scaled(
    panda: &Installation,
    app: &App<'_>,
    folder: &std::path::Path,
    replicas: usize,
) -> anyhow::Result<Duration> {
    let since = Instant::now();
    panda.cli_ok(folder, &["scale", &format!("web={replicas}"), "-a", &app.name]).await?;
    app.settle(replicas).await?;
    Ok(since.elapsed())
}

async fn sources(panda: &Installation, rounds: usize) -> anyhow::Result<Pair> {
    let app = App::create(panda, "bench-source").await?;
    let (ours, theirs) = (Source::sample("hello-node")?, Source::sample("hello-node")?);
    panda.cli_ok(theirs.path(), &["build", "--eject"]).await?;
    panda.cli_ok(ours.path(), &["deploy", "-a", &app.name, "--replicas", "3"]).await?;
    let hand = Kubectl::start(panda, "bench-source", &reference(panda, "v1")).await?;
    hand.deploy_source(theirs.path(), "hello from v1 ").await?;
    let mut version = 1;
    let mut pair = Pair::new("one changed line (cluster)", 1.10);
    for round in 0..rounds {
        for mine in turns(round) {
            if mine {
                let word = change(&ours, &mut version)?;
                let arguments = ["deploy", "-a", &app.name];
                pair.ours(timed(panda, &app, ours.path(), &arguments, |_, body| body.contains(&word)).await?);
                pair.phases.push(phases(panda, &app).await?);
            } else {
                let word = change(&theirs, &mut version)?;
                pair.theirs(hand.deploy_source(theirs.path(), &word).await?);
            }
        }
    }
    app.destroy().await?;
    Ok(pair)
}

/// Whose turn it is in a round, ours being `true`.
fn turns(round: usize) -> [bool; 2] {
    if ours_first(round) { [true, false] } else { [false, true] }
}
