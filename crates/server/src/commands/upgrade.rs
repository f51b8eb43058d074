//! Replacing the server by another version, and back again by itself when that one isn't healthy. Apps and edge go on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};
use panda_deployer::runtime::RuntimeError;
use panda_docker::platform::{Component, Ensured, PlatformContainerSpec, PlatformHost};

use super::preflight::KNOWS_TOKENS;
use super::{Failure, Outcome, health, load, say};
use crate::config::Config;
use crate::platform_containers::{Access, Installation, Layout};

/// How long the new version may take to look at the state.
const PREFLIGHT: Duration = Duration::from_mins(1);

/// What is upgraded, and to what. Server and edge never change together, so that one of them always serves.
#[derive(Debug, Clone, Args)]
#[command(
    group(ArgGroup::new("target").required(true).args(["image", "edge_image", "rollback"])),
    after_help = "Examples:
  panda-server upgrade --image panda-server:0.2.0
  panda-server upgrade --rollback
  panda-server upgrade --edge-image panda-edge:0.2.0"
)]
pub(crate) struct UpgradeArgs {
    /// Image of the server's new version
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Image of the edge's new version
    #[arg(long, value_name = "IMAGE")]
    edge_image: Option<String>,
    /// Go back to the server's version before the last upgrade
    #[arg(long)]
    rollback: bool,
    /// Seconds that the new version may take until it is ready
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

/// Carries it out.
pub(super) async fn run(file: Option<&Path>, data_dir: Option<PathBuf>, args: UpgradeArgs) -> Outcome {
    let config = load(file, data_dir)?;
    let installation = installed(&config)?;
    let host = connect(&config, &installation).await?;
    let limit = Duration::from_secs(args.wait);
    if let Some(image) = args.edge_image {
        return upgrade_edge(&config, installation, &host, image, limit).await;
    }
    let image = match args.image {
        Some(image) => image,
        None => installation.previous_server.clone().ok_or_else(|| {
            Failure::new("no earlier version is known", "name one: panda-server upgrade --image IMAGE")
        })?,
    };
    upgrade_server(&config, installation, &host, image, limit).await
}

/// Returns what `install` kept.
pub(super) fn installed(config: &Config) -> Outcome<Installation> {
    let kept = Installation::load(&config.data_dir)
        .map_err(|error| Failure::of(error, "run this as root; is --data-dir right?"))?;
    kept.ok_or_else(|| {
        let data = config.data_dir.display();
        Failure::new(format!("nothing is installed with the data folder `{data}`"), "panda-server install")
    })
}

/// Connects to the engine.
pub(super) async fn connect(config: &Config, installation: &Installation) -> Outcome<PlatformHost> {
    PlatformHost::connect(&config.runtime.docker_socket, &installation.name).await.map_err(|error| {
        Failure::of(error, "start the engine (systemctl start docker), and run this as root")
    })
}

async fn upgrade_edge(
    config: &Config,
    mut installation: Installation,
    host: &PlatformHost,
    image: String,
    limit: Duration,
) -> Outcome {
    let before = std::mem::replace(&mut installation.images.edge, image);
    let layout = Layout { config, installation: &installation };
    let spec =
        layout.spec(Component::Edge).map_err(|error| Failure::of(error, "panda-server config check"))?;
    let ensured = host.ensure_edge(&spec, &config.edge.control, limit).await.map_err(engine)?;
    installation.save(&config.data_dir).map_err(|error| Failure::of(error, "run this as root"))?;
    match ensured {
        Ensured::Unchanged => say(&format!("edge: runs {before} already")),
        _ => say(&format!("edge: {before} → {}, no connection was cut", installation.images.edge)),
    }
    Ok(())
}

async fn upgrade_server(
    config: &Config,
    mut installation: Installation,
    host: &PlatformHost,
    image: String,
    limit: Duration,
) -> Outcome {
    let from = version(config).await;
    let before = std::mem::replace(&mut installation.images.server, image);
    let layout = Layout { config, installation: &installation };
    let spec =
        layout.spec(Component::Server).map_err(|error| Failure::of(error, "panda-server config check"))?;
    if ensure_server(host, &layout, &spec, limit).await? == Ensured::Unchanged {
        say(&format!("server: runs {before} already"));
        return Ok(());
    }
    if before != installation.images.server {
        installation.previous_server = Some(before.clone());
    }
    installation.save(&config.data_dir).map_err(|error| Failure::of(error, "run this as root"))?;
    let to = version(config).await;
    say(&format!("server: {from} ({before}) → {to} ({})", installation.images.server));
    say("back: panda-server upgrade --rollback");
    Ok(())
}

async fn version(config: &Config) -> String {
    let info = health::server_info(config).await.ok();
    info.and_then(|info| Some(info.get("version")?.as_str()?.to_owned())).unwrap_or("unknown".to_owned())
}

/// Makes the server be there as asked. One that differs is replaced only by one that gets ready within `limit`.
pub(super) async fn ensure_server(
    host: &PlatformHost,
    layout: &Layout<'_>,
    spec: &PlatformContainerSpec,
    limit: Duration,
) -> Outcome<Ensured> {
    settle(host, layout.config).await?;
    let found = host.observe(Component::Server).await.map_err(engine)?;
    if found.is_none() || host.is_current(spec).await.map_err(engine)? {
        return host.ensure(spec).await.map_err(engine);
    }
    let knows_tokens = preflight(host, spec).await?.contains(KNOWS_TOKENS);
    if knows_tokens {
        return replace(host, layout.config, spec, limit).await;
    }
    // A version from before the registry's login: it could neither push nor pull.
    serve_everybody(host, layout).await?;
    let replaced = replace(host, layout.config, spec, limit).await;
    if replaced.is_err() {
        let spec = layout.spec(Component::Registry).map_err(config_wrong)?;
        host.ensure(&spec).await.map_err(engine)?;
    }
    replaced
}

/// Takes the login off the registry.
async fn serve_everybody(host: &PlatformHost, layout: &Layout<'_>) -> Outcome {
    layout.prepare().map_err(|error| Failure::of(error, "run this as root, on a disk with room"))?;
    let spec = layout.registry(Access::Everybody).map_err(config_wrong)?;
    host.ensure(&spec).await.map_err(engine)?;
    say(
        "warning: that version knows no login for the registry, so there is none now: every build step reaches all images",
    );
    Ok(())
}

fn config_wrong(error: anyhow::Error) -> Failure {
    Failure::of(error, "panda-server config check")
}

fn previous_name(host: &PlatformHost) -> String {
    format!("{}-previous", host.container_name(Component::Server))
}

/// Ends what a killed upgrade left half done: a server that is ready stays, otherwise the one before comes back.
async fn settle(host: &PlatformHost, config: &Config) -> Outcome {
    let previous = previous_name(host);
    if host.observe_named(&previous).await.map_err(engine)?.is_none() {
        return Ok(());
    }
    let current = host.observe(Component::Server).await.map_err(engine)?;
    if current.is_some_and(|current| current.running) && health::ready(config).await.is_ok() {
        return host.remove(&previous).await.map_err(engine);
    }
    say("an upgrade was interrupted: the version before comes back");
    go_back(host).await.map_err(engine)
}

/// Runs the new version beside the old one, where it looks at everything that it will need and takes nothing. Returns what it
/// said.
async fn preflight(host: &PlatformHost, spec: &PlatformContainerSpec) -> Outcome<String> {
    let mut look = spec.clone();
    look.health = None;
    if let Some(verb) = look.command.last_mut() {
        "preflight".clone_into(verb);
    }
    let name = format!("{}-preflight", host.container_name(Component::Server));
    match host.run_once(&look, &name, PREFLIGHT).await.map_err(engine)? {
        (0, said) => Ok(said),
        (code, said) => Err(Failure::new(
            format!(
                "the new version looked at this installation and refused (exit {code}):\n{}",
                said.trim()
            ),
            "choose another version; the old one serves on, untouched",
        )),
    }
}

/// Stops the old, starts the new, and goes back unless the new gets ready.
async fn replace(
    host: &PlatformHost,
    config: &Config,
    spec: &PlatformContainerSpec,
    limit: Duration,
) -> Outcome<Ensured> {
    let (name, previous) = (host.container_name(Component::Server), previous_name(host));
    let hand_over = async {
        // Without this a reboot right now would start both.
        host.set_restart(&name, false).await?;
        host.rename(&name, &previous).await?;
        host.create(spec, &name).await?;
        let stopped = Instant::now();
        host.stop(&previous, spec.grace_s).await?;
        host.start(&name).await?;
        Ok::<_, RuntimeError>(stopped)
    };
    let problem = match hand_over.await {
        Ok(stopped) => match health::wait_ready(config, limit).await {
            Ok(()) => {
                say(&format!("server: the API was away for {} ms", stopped.elapsed().as_millis()));
                host.remove(&previous).await.map_err(engine)?;
                return Ok(Ensured::Replaced);
            }
            Err(error) => format!("{error:#}"),
        },
        Err(error) => format!("{:#}", anyhow::Error::from(error)),
    };
    let said = host.last_lines(&name, 5).await.unwrap_or_default();
    let cause = format!("the new version isn't healthy: {problem}; it said:\n{}", said.trim());
    let back = async {
        go_back(host).await.map_err(anyhow::Error::from)?;
        health::wait_ready(config, limit.max(Duration::from_secs(30))).await
    };
    match back.await {
        Ok(()) => Err(Failure::new(cause, "choose another version; the old one is back and ready")),
        Err(error) => {
            let fix = format!("docker logs {name}; then `panda-server install`, which brings the old one up");
            Err(Failure::new(format!("{cause}\nand the old one doesn't come back: {error:#}"), fix))
        }
    }
}

/// Removes the new container and starts the old one again under its name. Any part may have been done before.
async fn go_back(host: &PlatformHost) -> Result<(), RuntimeError> {
    let (name, previous) = (host.container_name(Component::Server), previous_name(host));
    if host.observe_named(&previous).await?.is_some() {
        host.remove(&name).await?;
        host.rename(&previous, &name).await?;
    }
    host.set_restart(&name, true).await?;
    host.start(&name).await
}

fn engine(error: RuntimeError) -> Failure {
    Failure::of(error, "correct what the engine says, then run this again")
}
