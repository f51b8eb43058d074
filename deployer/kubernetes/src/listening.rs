//! Which ports an instance really listens on, while it isn't ready: read inside of its pod, by its own `cat` or, where its image
//! has none, by a container that is added to the pod for that look.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{EphemeralContainer, Pod};
use kube::ResourceExt;
use kube::api::{AttachParams, LogParams, Patch, PatchParams};
use panda_deployer::listening;
use panda_deployer::runtime::{RuntimeError, RuntimeResult};
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::cluster::doing;
use crate::labels;
use crate::objects::MANAGER;
use crate::objects::container::{self, RunsAs};
use crate::pods;
use crate::runtime::Driver;

/// How long an instance may take before anybody looks: most are ready by then.
const FIRST_LOOK: SignedDuration = SignedDuration::from_secs(2);
/// How long a look is good for.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// How long a look may take, the start of a container included.
const LIMIT: Duration = Duration::from_secs(30);
/// The most that is read of a table.
const MOST: u64 = 1 << 20;
/// The container that is added for a look.
const LOOKER: &str = "panda-look";
const COMMAND: [&str; 3] = ["cat", "/proc/net/tcp", "/proc/net/tcp6"];

/// What was found, by the pod's UID; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Listening(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    found: HashMap<String, (tokio::time::Instant, Vec<(u16, bool)>)>,
    looking: HashSet<String>,
    /// Pods that a container was added to: it can't be taken away again, so that one has to do.
    added: HashSet<String>,
}

impl Listening {
    /// Returns what the last look found, and starts another if that is old.
    pub(crate) fn of(&self, driver: &Driver, namespace: &str, pod: &Arc<Pod>) -> Vec<(u16, bool)> {
        let Some(uid) = pod.uid() else { return Vec::new() };
        let runs = pods::running_since(pod);
        let ripe = runs.is_some_and(|at| driver.config.clock.now().duration_since(at) >= FIRST_LOOK);
        let mut inner = self.lock();
        let found = inner.found.get(&uid);
        let fresh = found.is_some_and(|(at, _)| at.elapsed() < GOOD_FOR);
        let ports = found.map(|(_, ports)| ports.clone()).unwrap_or_default();
        if ripe && !fresh && inner.looking.insert(uid) {
            let (looking, driver, pod) = (self.clone(), driver.clone(), Arc::clone(pod));
            let namespace = namespace.to_owned();
            driver.clone().spawn(async move { looking.look(&driver, &namespace, &pod).await });
        }
        ports
    }

    async fn look(&self, driver: &Driver, namespace: &str, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        let looked = tokio::time::timeout(LIMIT, self.read(driver, namespace, pod, &uid)).await;
        let ports = match looked {
            Ok(Ok(tables)) => listening::ports([tables.as_str()]),
            Ok(Err(error)) => {
                // Not readable means not known.
                tracing::debug!(%error, pod = pod.name_any(), "the ports of a pod can't be read");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let mut inner = self.lock();
        inner.looking.remove(&uid);
        inner.found.retain(|_, (at, _)| at.elapsed() < LIMIT * 10);
        let before = inner.found.insert(uid, (tokio::time::Instant::now(), ports.clone()));
        drop(inner);
        if before.map(|(_, ports)| ports).unwrap_or_default() != ports {
            driver.view.signals.hint(labels::placement(pod.labels()));
        }
    }

    async fn read(&self, driver: &Driver, namespace: &str, pod: &Pod, uid: &str) -> RuntimeResult<String> {
        match by_its_own(driver, namespace, pod).await {
            Ok(tables) if !tables.is_empty() => return Ok(tables),
            Err(error) if error.is_transient() => return Err(error),
            _ => {}
        }
        let Some(image) = &driver.config.tools_image else { return Ok(String::new()) };
        if self.lock().added.insert(uid.to_owned()) {
            add(driver, namespace, pod, image).await?;
        }
        by_the_added(driver, namespace, pod).await
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn by_its_own(driver: &Driver, namespace: &str, pod: &Pod) -> RuntimeResult<String> {
    let params = AttachParams {
        container: Some(container::NAME.to_owned()),
        stdout: true,
        stderr: false,
        ..AttachParams::default()
    };
    let api = driver.cluster.within::<Pod>(namespace);
    let name = pod.name_any();
    let mut process =
        driver.cluster.call(doing::<Pod>("look into", &name), api.exec(&name, COMMAND, &params)).await?;
    let mut text = String::new();
    if let Some(out) = process.stdout() {
        let read = out.take(MOST).read_to_string(&mut text).await;
        read.map_err(|error| unreadable(&name, error))?;
    }
    Ok(text)
}

/// Adds a container to the pod that prints the tables of the network that they share.
async fn add(driver: &Driver, namespace: &str, pod: &Pod, image: &str) -> RuntimeResult<()> {
    let mut security = container::security(RunsAs::Ours);
    security.read_only_root_filesystem = Some(true);
    let looker = EphemeralContainer {
        name: LOOKER.to_owned(),
        image: Some(image.to_owned()),
        command: Some(COMMAND.map(str::to_owned).to_vec()),
        security_context: Some(security),
        ..EphemeralContainer::default()
    };
    let patch = Patch::Strategic(json!({ "spec": { "ephemeralContainers": [looker] } }));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let api = driver.cluster.within::<Pod>(namespace);
    let name = pod.name_any();
    let added = api.patch_ephemeral_containers(&name, &params, &patch);
    driver.cluster.call(doing::<Pod>("look into", &name), added).await.map(drop)
}

/// Reads what the added container printed, once it has ended.
async fn by_the_added(driver: &Driver, namespace: &str, pod: &Pod) -> RuntimeResult<String> {
    let name = pod.name_any();
    let ended = || {
        let pod = driver.view.pods.get(namespace, &name);
        let status = pod.as_ref().and_then(|pod| pod.status.as_ref());
        let statuses = status.and_then(|status| status.ephemeral_container_statuses.as_ref());
        let looker = statuses.into_iter().flatten().find(|status| status.name == LOOKER);
        looker.is_some_and(|status| status.state.as_ref().is_some_and(|state| state.terminated.is_some()))
    };
    driver.view.until(LIMIT, ended).await;
    let params = LogParams { container: Some(LOOKER.to_owned()), ..LogParams::default() };
    let api = driver.cluster.within::<Pod>(namespace);
    driver.cluster.call(doing::<Pod>("look into", &name), api.logs(&name, &params)).await
}

fn unreadable(pod: &str, error: std::io::Error) -> RuntimeError {
    RuntimeError::Unavailable { doing: format!("look into pod `{pod}`"), source: Some(Box::new(error)) }
}
