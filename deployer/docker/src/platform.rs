//! The platform's own containers: registry, builder, edge and server.
//!
//! Made, replaced and removed by the operator's commands, never by a running server: a server that replaced itself would die
//! half way. A container's name is its identity, a hash in its labels tells whether it still is what is wanted, and
//! `restart=always` brings it back after a crash or a reboot.

mod edge;
mod remove;
mod spec;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerUpdateBody, NetworkCreateRequest, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, ListContainersOptions, LogsOptions, RemoveContainerOptions,
    RenameContainerOptions, StopContainerOptions,
};
use futures_util::StreamExt;
use panda_deployer::runtime::{Check, RuntimeError, RuntimeResult};

use crate::check;
use crate::engine::{Engine, absent};
use crate::images;

pub use spec::{Component, Confinement, Network, PlatformContainerSpec};
use spec::{PLATFORM, SPEC_HASH};

/// How long one ordinary call to the engine may take.
const CALL: Duration = Duration::from_mins(1);
/// How long pulling one image may take.
const PULL: Duration = Duration::from_mins(15);

/// The containers of one installation's platform on one engine.
#[derive(Debug, Clone)]
pub struct PlatformHost {
    engine: Engine,
    name: String,
    cores: u32,
}

/// What [`PlatformHost::ensure`] had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It ran as wanted.
    Unchanged,
    /// It was as wanted and had to be started.
    Started,
    /// There was none.
    Created,
    /// It was another one, and was replaced.
    Replaced,
}

/// A platform container as observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformContainer {
    /// Its name.
    pub name: String,
    /// The reference that it was made from.
    pub image: String,
    /// Whether it runs now.
    pub running: bool,
    /// The engine's word for its state, such as `running` or `restarting`.
    pub state: String,
    /// Exit code of the last run, if it ended.
    pub exit_code: Option<i64>,
    /// Times that the engine started it again.
    pub restarts: i64,
    spec_hash: String,
}

impl PlatformHost {
    /// Connects to the engine. `name` is the prefix of all names, `panda` for most.
    pub async fn connect(socket: &Path, name: &str) -> RuntimeResult<Self> {
        let engine = Engine::connect(socket, CALL).await?;
        let cores = engine.info().await?.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
        Ok(Self { engine, name: name.to_owned(), cores })
    }

    /// Returns what doctor should know about the engine.
    pub async fn check(&self) -> RuntimeResult<Vec<Check>> {
        Ok(check::engine(&self.engine.info().await?))
    }

    /// Returns the name of a component's container.
    pub fn container_name(&self, component: Component) -> String {
        format!("{}-{}", self.name, component.word())
    }

    /// Returns the name of the network that builder and registry share.
    pub fn build_network(&self) -> String {
        format!("{}-build", self.name)
    }

    /// Makes the build network be there.
    pub async fn ensure_build_network(&self) -> RuntimeResult<()> {
        let name = self.build_network();
        let doing = format!("look for network `{name}`");
        if absent(self.engine.call(doing, self.engine.docker.inspect_network(&name, None)).await)?.is_some() {
            return Ok(());
        }
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            labels: Some(HashMap::from([(PLATFORM.to_owned(), self.name.clone())])),
            ..NetworkCreateRequest::default()
        };
        let created =
            self.engine.call(format!("create network `{name}`"), self.engine.docker.create_network(request));
        match created.await {
            Ok(_) | Err(RuntimeError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the engine have the image, by pulling it if need be, and returns its id.
    pub async fn ensure_image(&self, reference: &str) -> RuntimeResult<String> {
        if images::inspect(&self.engine, reference).await?.is_none() {
            images::pull(&self.engine, PULL, reference, None).await?;
        }
        let image = images::inspect(&self.engine, reference).await?;
        image
            .and_then(|image| image.id)
            .ok_or_else(|| RuntimeError::NotFound { what: format!("image `{reference}`") })
    }

    /// Tells whether the component's container is the one that `spec` asks for, running or not.
    pub async fn is_current(&self, spec: &PlatformContainerSpec) -> RuntimeResult<bool> {
        let image = self.ensure_image(&spec.image).await?;
        let wanted = spec::hash(&self.name, spec, &image, self.cores);
        Ok(self.observe(spec.component).await?.is_some_and(|found| found.spec_hash == wanted))
    }

    /// Makes the container be there as asked, replacing one that differs: stop, remove, create, start.
    pub async fn ensure(&self, spec: &PlatformContainerSpec) -> RuntimeResult<Ensured> {
        let name = self.container_name(spec.component);
        let found = self.observe(spec.component).await?;
        if self.is_current(spec).await? {
            if found.is_some_and(|found| found.running) {
                return Ok(Ensured::Unchanged);
            }
            self.start(&name).await?;
            return Ok(Ensured::Started);
        }
        if found.is_some() {
            self.stop(&name, spec.grace_s).await?;
            self.remove(&name).await?;
        }
        self.create(spec, &name).await?;
        self.start(&name).await?;
        Ok(if found.is_some() { Ensured::Replaced } else { Ensured::Created })
    }

    /// Returns a component's container, `None` if there is none. One of the same name that isn't ours is an error.
    pub async fn observe(&self, component: Component) -> RuntimeResult<Option<PlatformContainer>> {
        self.observe_named(&self.container_name(component)).await
    }

    /// Returns the container of that name.
    pub async fn observe_named(&self, name: &str) -> RuntimeResult<Option<PlatformContainer>> {
        let doing = format!("look for container `{name}`");
        let found = absent(self.engine.call(doing, self.engine.docker.inspect_container(name, None)).await)?;
        found.map(|found| self.read(name, found)).transpose()
    }

    fn read(&self, name: &str, found: ContainerInspectResponse) -> RuntimeResult<PlatformContainer> {
        let config = found.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        if labels.get(PLATFORM) != Some(&self.name) {
            return Err(RuntimeError::Rejected {
                doing: format!("use the name `{name}`"),
                reason: "a container that isn't ours has it; remove that one, or choose another --name"
                    .to_owned(),
            });
        }
        let state = found.state.unwrap_or_default();
        Ok(PlatformContainer {
            name: name.to_owned(),
            image: config.image.unwrap_or_default(),
            running: state.running == Some(true) && state.restarting != Some(true),
            state: state.status.map(|status| status.to_string()).unwrap_or_default(),
            exit_code: state.exit_code,
            restarts: found.restart_count.unwrap_or(0),
            spec_hash: labels.get(SPEC_HASH).cloned().unwrap_or_default(),
        })
    }

    /// Creates the container under `name` without starting it.
    pub async fn create(&self, spec: &PlatformContainerSpec, name: &str) -> RuntimeResult<()> {
        let image = self.ensure_image(&spec.image).await?;
        let body = spec::body(&self.name, spec, &image, self.cores);
        let options = CreateContainerOptions { name: Some(name.to_owned()), platform: String::new() };
        let call = self.engine.docker.create_container(Some(options), body);
        self.engine.call(format!("create container `{name}`"), call).await?;
        Ok(())
    }

    /// Starts a container; one that runs stays as it is.
    pub async fn start(&self, name: &str) -> RuntimeResult<()> {
        let call = self.engine.docker.start_container(name, None);
        self.engine.call(format!("start container `{name}`"), call).await
    }

    /// Stops a container: SIGTERM, then SIGKILL after `grace_s` seconds. Absent is fine.
    pub async fn stop(&self, name: &str, grace_s: u32) -> RuntimeResult<()> {
        let grace = i32::try_from(grace_s).unwrap_or(i32::MAX);
        let options = StopContainerOptions { t: Some(grace), ..StopContainerOptions::default() };
        let call = self.engine.docker.stop_container(name, Some(options));
        let limit = CALL + Duration::from_secs(u64::from(grace_s));
        absent(self.engine.call_within(limit, format!("stop container `{name}`"), call).await)?;
        Ok(())
    }

    /// Removes a container, killing it if it runs. Named volumes stay. Absent is fine.
    pub async fn remove(&self, name: &str) -> RuntimeResult<()> {
        let options = RemoveContainerOptions { force: true, v: true, link: false };
        let call = self.engine.docker.remove_container(name, Some(options));
        absent(self.engine.call(format!("remove container `{name}`"), call).await)?;
        Ok(())
    }

    /// Gives a container another name.
    pub async fn rename(&self, from: &str, to: &str) -> RuntimeResult<()> {
        let options = RenameContainerOptions { name: to.to_owned() };
        let call = self.engine.docker.rename_container(from, options);
        self.engine.call(format!("rename container `{from}` to `{to}`"), call).await
    }

    /// Says whether the engine shall start the container again when it ends or when the engine itself starts.
    pub async fn set_restart(&self, name: &str, restart: bool) -> RuntimeResult<()> {
        let word = if restart { RestartPolicyNameEnum::ALWAYS } else { RestartPolicyNameEnum::NO };
        let policy = RestartPolicy { name: Some(word), maximum_retry_count: None };
        let change = ContainerUpdateBody { restart_policy: Some(policy), ..ContainerUpdateBody::default() };
        let call = self.engine.docker.update_container(name, change);
        self.engine.call(format!("change container `{name}`"), call).await?;
        Ok(())
    }

    /// Returns the last lines that a container wrote.
    pub async fn last_lines(&self, name: &str, lines: u32) -> RuntimeResult<String> {
        let options =
            LogsOptions { stdout: true, stderr: true, tail: lines.to_string(), ..LogsOptions::default() };
        let stream = self.engine.docker.logs(name, Some(options));
        let read = async {
            let mut stream = std::pin::pin!(stream);
            let mut text = String::new();
            while let Some(chunk) = stream.next().await {
                text.push_str(&String::from_utf8_lossy(&chunk?.into_bytes()));
            }
            Ok(text)
        };
        self.engine.call(format!("read the log of `{name}`"), read).await
    }

    /// Runs `command` once in a container like `spec`'s, and returns its exit code and what it wrote.
    pub async fn run_once(
        &self,
        spec: &PlatformContainerSpec,
        name: &str,
        limit: Duration,
    ) -> RuntimeResult<(i64, String)> {
        self.remove(name).await?;
        self.create(spec, name).await?;
        self.set_restart(name, false).await?;
        self.start(name).await?;
        let ended = tokio::time::timeout(limit, self.ended(name)).await;
        let output = self.last_lines(name, 200).await;
        self.remove(name).await?;
        match ended {
            Ok(code) => Ok((code?, output?)),
            Err(_) => Err(RuntimeError::Rejected {
                doing: format!("run `{}`", spec.command.join(" ")),
                reason: format!("not done within {} s", limit.as_secs()),
            }),
        }
    }

    async fn ended(&self, name: &str) -> RuntimeResult<i64> {
        loop {
            match self.observe_named(name).await? {
                Some(found) if found.state == "exited" => return Ok(found.exit_code.unwrap_or(-1)),
                Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                None => return Err(RuntimeError::NotFound { what: format!("container `{name}`") }),
            }
        }
    }

    /// Returns the names of all containers with the label.
    async fn labelled(&self, label: String) -> RuntimeResult<Vec<String>> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), vec![label])])),
            ..ListContainersOptions::default()
        };
        let listed =
            self.engine.call("list containers", self.engine.docker.list_containers(Some(options))).await?;
        Ok(listed.into_iter().filter_map(|summary| summary.id).collect())
    }

    /// Returns the platform's containers by component, those of an interrupted replacement left out.
    pub async fn all(&self) -> RuntimeResult<Vec<(Component, PlatformContainer)>> {
        let mut found = Vec::new();
        for component in Component::ALL {
            if let Some(container) = self.observe(component).await? {
                found.push((component, container));
            }
        }
        Ok(found)
    }
}

/// The label that selects a platform's objects.
fn select(name: &str) -> String {
    format!("{PLATFORM}={name}")
}
