//! An engine that stops, is killed, or starts again after a power cut: a private one, so that nobody else's is touched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use panda_e2e::{App, Ground, Installation, Options, image, story_with};
use panda_test_support::process::Program;

/// A private engine that is removed with the handle.
struct Engine {
    name: String,
}

impl Engine {
    fn start(ground: &Ground, name: &str) -> anyhow::Result<Self> {
        let engine = Self { name: format!("{}-{name}", ground.run) };
        engine.call("start")?;
        Ok(engine)
    }

    fn call(&self, verb: &str) -> anyhow::Result<String> {
        let script = Ground::program("PANDA_TEST_PRIVATE_DOCKERD")?;
        Program::new(script).args([verb, &self.name]).with_own_environment().output()
    }

    fn socket(&self) -> anyhow::Result<PathBuf> {
        Ok(Path::new(self.call("socket")?.trim()).to_owned())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.call("remove");
    }
}

/// Tells a story with an engine of its own.
fn with_engine(name: &str, body: impl AsyncFnOnce(&Installation, &Engine) -> anyhow::Result<()>) {
    let mut engine = None;
    let kept = &mut engine;
    let started = std::sync::Mutex::new(kept);
    story_with(
        |ground| {
            let engine = Engine::start(ground, name)?;
            let options = Options { docker: Some(engine.socket()?), ..Options::default() };
            **started.lock().expect("nobody else has it") = Some(engine);
            Ok(options)
        },
        async |panda| {
            let engine = started.lock().expect("nobody else has it").take().expect("it was started");
            body(panda, &engine).await
        },
    );
}

#[test]
fn an_engine_that_restarts_or_is_killed_costs_no_request_and_a_deploy_goes_on() {
    with_engine("restart", async |panda, engine| {
        let app = App::create(panda, "web").await?;
        let mut first = image(panda, "v1");
        first.overrides.replicas = Some(2);
        app.deploy_live(&first).await?;
        let prober = app.probe()?;
        for (verb, tag) in [("stop", "v2"), ("kill", "v1")] {
            engine.call(verb)?;
            let id = app.begin(&image(panda, tag)).await?;
            tokio::time::sleep(Duration::from_secs(3)).await; // the engine is away so long
            engine.call("start")?;
            let ended = app.end(&id).await?;
            assert_eq!(ended.state, "live", "after `{verb}` of the engine: {ended:#?}");
            prober.until_answers(tag, Duration::from_secs(10)).await?;
        }
        app.settle(2).await?;
        prober.stop().assert_no_failures();
        Ok(())
    });
}

#[test]
fn after_a_power_cut_everything_comes_back_by_itself() {
    with_engine("crash", async |panda, engine| {
        let app = App::create(panda, "web").await?;
        let mut first = image(panda, "v1");
        first.overrides.replicas = Some(2);
        app.deploy_live(&first).await?;
        panda.kill9_server();
        panda.kill9_edge();
        engine.call("crash")?;

        engine.call("start")?;
        panda.start_edge().await?;
        let prober = app.probe()?;
        prober.until_answers("v1", Duration::from_mins(1)).await?; // before any control plane is there
        panda.start_server().await?;
        app.settle(2).await?;
        drop(prober);
        let prober = app.probe()?;
        app.deploy_live(&image(panda, "v2")).await?;
        prober.until_answers("v2", Duration::from_secs(10)).await?;
        prober.stop().assert_no_failures();
        Ok(())
    });
}
