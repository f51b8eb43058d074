//! What is compared: a changed line, nothing changed, an image, going back.

use std::path::Path;
use std::time::{Duration, Instant};

use panda_e2e::{App, Installation, Source, image};
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::by_hand::{Hand, REPLICAS};
use crate::pair::{Pair, ours_first};
use crate::watch::until_only;

/// A small Node app from its source, on both sides.
pub(crate) struct Sources<'a> {
    panda: &'a Installation,
    hand: &'a Hand<'a>,
    app: App<'a>,
    ours: Source,
    theirs: Source,
    version: u32,
}

impl<'a> Sources<'a> {
    pub(crate) async fn start(panda: &'a Installation, hand: &'a Hand<'a>) -> anyhow::Result<Self> {
        let app = App::create(panda, "bench-source").await?;
        let (ours, theirs) = (Source::sample("hello-node")?, Source::sample("hello-node")?);
        panda.cli_ok(theirs.path(), &["build", "--eject"]).await?;
        let mut cases = Self { panda, hand, app, ours, theirs, version: 1 };
        let folder = cases.ours.path().to_owned();
        deploy(panda, &cases.app, &folder, &["--replicas", "3"], |_, body| body.contains("hello from v1 "))
            .await?;
        hand.same_limits_as(&cases.app.name)?;
        // Both have built once: what is measured is the change.
        cases.by_hand_changed().await?;
        Ok(cases)
    }

    pub(crate) async fn one_changed_line(&mut self, rounds: usize) -> anyhow::Result<Pair> {
        let mut pair = Pair::new("one changed line", 1.10);
        for round in 0..rounds {
            if ours_first(round) {
                self.panda_changed(&mut pair).await?;
            }
            pair.theirs(self.by_hand_changed().await?);
            if !ours_first(round) {
                self.panda_changed(&mut pair).await?;
            }
        }
        Ok(pair)
    }

    async fn panda_changed(&mut self, pair: &mut Pair) -> anyhow::Result<()> {
        let word = change(&self.ours, &mut self.version)?;
        let took =
            deploy(self.panda, &self.app, self.ours.path(), &[], |_, body| body.contains(&word)).await?;
        pair.ours(took);
        pair.phases.push(phases(self.panda, &self.app).await?);
        Ok(())
    }

    async fn by_hand_changed(&mut self) -> anyhow::Result<Duration> {
        change(&self.theirs, &mut self.version)?;
        self.by_hand().await
    }

    async fn by_hand(&self) -> anyhow::Result<Duration> {
        let since = Instant::now();
        let built = self.hand.build(self.theirs.path()).await?;
        let took = self.hand.roll(&built, since).await?;
        self.hand.remove_old().await?;
        Ok(took)
    }

    pub(crate) async fn nothing_changed(&mut self, rounds: usize) -> anyhow::Result<Pair> {
        let mut pair = Pair::new("unchanged source", 0.5);
        for round in 0..rounds {
            if ours_first(round) {
                pair.ours(self.panda_unchanged().await?);
            }
            pair.theirs(self.by_hand().await?);
            if !ours_first(round) {
                pair.ours(self.panda_unchanged().await?);
            }
        }
        Ok(pair)
    }

    /// The version that is wished answers already: the time is the command's.
    async fn panda_unchanged(&self) -> anyhow::Result<Duration> {
        let since = Instant::now();
        self.panda.cli_ok(self.ours.path(), &["deploy", "-a", &self.app.name]).await?;
        Ok(since.elapsed())
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.hand.remove_all().await?;
        self.app.destroy().await
    }
}

/// An image with two versions that both sides have.
pub(crate) struct Images<'a> {
    panda: &'a Installation,
    hand: &'a Hand<'a>,
    app: App<'a>,
    folder: tempfile::TempDir,
    ours_new: bool,
    theirs_new: bool,
}

impl<'a> Images<'a> {
    pub(crate) async fn start(panda: &'a Installation, hand: &'a Hand<'a>) -> anyhow::Result<Self> {
        let app = App::create(panda, "bench-image").await?;
        app.deploy_live(&image(panda, "v2")).await?;
        app.deploy_live(&image(panda, "v1")).await?;
        app.scale(u32::try_from(REPLICAS)?).await?;
        hand.same_limits_as(&app.name)?;
        for tag in ["v2", "v1"] {
            hand.roll(&reference(panda, tag), Instant::now()).await?;
        }
        hand.stop_old().await?;
        Ok(Self { panda, hand, app, folder: tempfile::tempdir()?, ours_new: false, theirs_new: false })
    }

    pub(crate) async fn deploy(&mut self, rounds: usize) -> anyhow::Result<Pair> {
        let mut pair = Pair::new("image deploy", 1.15);
        for round in 0..rounds {
            if ours_first(round) {
                self.panda_deploy(&mut pair).await?;
            }
            let tag = flip(&mut self.theirs_new);
            self.hand.remove_old().await?;
            pair.theirs(self.hand.roll(&reference(self.panda, tag), Instant::now()).await?);
            self.hand.stop_old().await?;
            if !ours_first(round) {
                self.panda_deploy(&mut pair).await?;
            }
        }
        Ok(pair)
    }

    async fn panda_deploy(&mut self, pair: &mut Pair) -> anyhow::Result<()> {
        let tag = flip(&mut self.ours_new);
        let image = reference(self.panda, tag);
        let took = deploy(self.panda, &self.app, self.folder.path(), &["--image", &image], |_, body| {
            body.trim() == tag
        })
        .await?;
        pair.ours(took);
        pair.phases.push(phases(self.panda, &self.app).await?);
        Ok(())
    }

    pub(crate) async fn roll_back(&mut self, rounds: usize) -> anyhow::Result<Pair> {
        let mut pair = Pair::new("rollback", 1.1);
        for round in 0..rounds {
            if ours_first(round) {
                self.panda_back(&mut pair).await?;
            }
            pair.theirs(self.hand.start_stopped(Instant::now()).await?);
            self.hand.stop_old().await?;
            if !ours_first(round) {
                self.panda_back(&mut pair).await?;
            }
        }
        Ok(pair)
    }

    async fn panda_back(&mut self, pair: &mut Pair) -> anyhow::Result<()> {
        let tag = flip(&mut self.ours_new);
        let arguments = ["rollback", "-a", &self.app.name];
        let took = timed(self.panda, &self.app, self.folder.path(), &arguments, |_, body| body.trim() == tag)
            .await?;
        pair.ours(took);
        pair.phases.push(phases(self.panda, &self.app).await?);
        Ok(())
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.hand.remove_all().await?;
        self.app.destroy().await
    }
}

pub(crate) fn reference(panda: &Installation, tag: &str) -> String {
    format!("{}/web:{tag}", panda.ground.images)
}

pub(crate) fn flip(new: &mut bool) -> &'static str {
    *new = !*new;
    if *new { "v2" } else { "v1" }
}

/// Changes one line; returns what only the changed app says.
pub(crate) fn change(source: &Source, version: &mut u32) -> anyhow::Result<String> {
    *version += 1;
    let text = std::fs::read_to_string(source.path().join("server.js"))?;
    let line = |line: &str| {
        if line.starts_with("const VERSION") {
            format!("const VERSION = 'v{version}';\n")
        } else {
            format!("{line}\n")
        }
    };
    source.write("server.js", &text.lines().map(line).collect::<String>())?;
    Ok(format!("hello from v{version} "))
}

async fn deploy(
    panda: &Installation,
    app: &App<'_>,
    folder: &Path,
    more: &[&str],
    wished: impl Fn(&HeaderMap, &str) -> bool,
) -> anyhow::Result<Duration> {
    timed(panda, app, folder, &[&["deploy", "-a", &app.name][..], more].concat(), wished).await
}

/// Runs the command line until only what is wished answers; the end of the command and of the old instances isn't counted.
pub(crate) async fn timed(
    panda: &Installation,
    app: &App<'_>,
    folder: &Path,
    arguments: &[&str],
    wished: impl Fn(&HeaderMap, &str) -> bool,
) -> anyhow::Result<Duration> {
    let since = Instant::now();
    let command = panda.cli_ok(folder, arguments);
    let answers = until_only(panda.browser(), &app.url, since, wished);
    let (_, took) = tokio::try_join!(command, answers)?;
    app.settle(REPLICAS).await?;
    Ok(took)
}

/// The newest deployment and its progress, as the command line shows it.
pub(crate) async fn phases(panda: &Installation, app: &App<'_>) -> anyhow::Result<Value> {
    let mut page: Value = panda.api().get(&app.path("/deployments?limit=1")).await?;
    let deployment = page["items"][0].take();
    let id = deployment["id"].as_str().unwrap_or_default();
    let events = panda.api().text(&app.path(&format!("/deployments/{id}/events"))).await?;
    let data =
        events.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?).ok());
    let steps: Vec<Value> = data.filter(|event| event.get("elapsed_ms").is_some()).collect();
    Ok(
        serde_json::json!({ "created_at": deployment["created_at"], "finished_at": deployment["finished_at"], "steps": steps }),
    )
}
