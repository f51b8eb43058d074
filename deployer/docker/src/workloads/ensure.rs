//! Makes a workload be as its spec says: enough instances, started, with the right size and names.

use std::net::Ipv4Addr;

use bollard::models::{
    ContainerInspectResponse, ContainerUpdateBody, NetworkConnectRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::{CreateContainerOptions, UploadToContainerOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use panda_deployer::runtime::{FileSpec, Progress, RuntimeError, RuntimeResult, WorkloadSpec};
use panda_domain::ids::InstanceId;

use super::{Listed, PARALLEL};
use crate::create::{self, Template, short};
use crate::drain::discard;
use crate::environments::network_name;
use crate::files;
use crate::images::{self, Pull};
use crate::labels;
use crate::runtime::Driver;

pub(super) async fn run(driver: &Driver, spec: &WorkloadSpec) -> RuntimeResult<Progress> {
    let listed = driver.listed(labels::select_workload(&driver.host.installation, &spec.key)).await?;
    let (draining, current): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|one| driver.drains.look(|drains| drains.has(&one.identity.instance)));
    let (keep, surplus) = choose(driver, current, spec.replicas as usize);
    let missing = (spec.replicas as usize).saturating_sub(keep.len());
    let working = !draining.is_empty() || !surplus.is_empty();
    let victims = surplus.into_iter().map(|one| (one.identity, one.container)).collect();
    driver.drain(victims, &spec.shutdown).await?;

    for (one, inspect) in driver.inspect_all(keep).await? {
        repair(driver, spec, &one, &inspect).await?;
    }
    if missing > 0 {
        let Some(user) = image(driver, spec).await? else { return Ok(Progress::Working) };
        driver.room_for(spec, missing).await?;
        let template = Template::of_workload(&driver.host, spec, &user)?;
        create_all(driver, spec, &template, missing).await?;
    }
    Ok(if working { Progress::Working } else { Progress::Converged })
}

/// Chooses who stays: ready ones before others, older ones before newer.
fn choose(driver: &Driver, mut current: Vec<Listed>, replicas: usize) -> (Vec<Listed>, Vec<Listed>) {
    current.sort_by_key(|one| {
        (!driver.instances.readiness(&one.identity.instance).ready, one.identity.instance.clone())
    });
    let surplus = current.split_off(replicas.min(current.len()));
    (current, surplus)
}

/// Returns the image's user once the image is there; `None` while it is being pulled.
async fn image(driver: &Driver, spec: &WorkloadSpec) -> RuntimeResult<Option<String>> {
    let reference = spec.image.reference();
    if let Some(user) = images::user(&driver.engine, &reference).await? {
        return Ok(Some(user));
    }
    match driver.pulls.claim(&reference) {
        Pull::Failed(error) => Err(error),
        Pull::Running => Ok(None),
        Pull::Start => {
            images::pull_behind(driver, spec.image.clone(), Some(spec.key.placement.clone()));
            Ok(None)
        }
    }
}

async fn create_all(
    driver: &Driver,
    spec: &WorkloadSpec,
    template: &Template,
    missing: usize,
) -> RuntimeResult<()> {
    // Packed before anything is created, so that a bad path leaves nothing behind.
    files::archive(&spec.files)?;
    let ids: Vec<InstanceId> = (0..missing).map(|_| driver.ids.next()).collect();
    let owners = ids.iter().map(ToString::to_string).collect();
    let addresses = driver.addresses.give(&spec.key.environment, owners).await?;
    let created = stream::iter(ids.into_iter().zip(addresses))
        .map(|(id, address)| create_one(driver, spec, template, id, address));
    created.buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
    Ok(())
}

async fn create_one(
    driver: &Driver,
    spec: &WorkloadSpec,
    template: &Template,
    id: InstanceId,
    address: Ipv4Addr,
) -> RuntimeResult<()> {
    let body = template.instance(spec, &id, address);
    let plain = format!("panda-{}-{}-v{}-", spec.app, spec.key.process, spec.release_number);
    // Names are for people; the short one may be taken.
    for name in [format!("{plain}{}", short(id.as_str())), format!("{plain}{}", id.as_str())] {
        let options = CreateContainerOptions { name: Some(name), platform: String::new() };
        let call = driver.engine.docker.create_container(Some(options), body.clone());
        match driver.engine.call(format!("create instance `{id}`"), call).await {
            Err(RuntimeError::Conflict { .. }) => {}
            Ok(created) => return start(driver, spec, &created.id).await,
            Err(error) => {
                driver.addresses.release(id.as_str()).await?;
                return Err(error);
            }
        }
    }
    Err(RuntimeError::Conflict { what: format!("the name of instance `{id}`") })
}

/// Writes files into a container that doesn't run yet.
pub(crate) async fn mount(driver: &Driver, files: &[FileSpec], container: &str) -> RuntimeResult<()> {
    if files.is_empty() {
        return Ok(());
    }
    let options = UploadToContainerOptions { path: "/".to_owned(), ..Default::default() };
    let archive = bollard::body_full(files::archive(files)?);
    let call = driver.engine.docker.upload_to_container(container, Some(options), archive);
    driver.engine.call("mount files", call).await
}

/// Writes the files and starts the container; both may be done twice.
async fn start(driver: &Driver, spec: &WorkloadSpec, container: &str) -> RuntimeResult<()> {
    mount(driver, &spec.files, container).await?;
    let call = driver.engine.docker.start_container(container, None);
    driver.engine.call(format!("start {} of app `{}`", spec.key.process, spec.app), call).await?;
    driver.look_at(container).await
}

/// Brings an existing instance back to its spec: started, of the right size, found by its name.
async fn repair(
    driver: &Driver,
    spec: &WorkloadSpec,
    one: &Listed,
    inspect: &ContainerInspectResponse,
) -> RuntimeResult<()> {
    let state = inspect.state.clone().unwrap_or_default();
    if state.dead == Some(true) {
        discard(driver, &one.container).await?;
        return driver.addresses.release(one.identity.instance.as_str()).await;
    }
    if state.running != Some(true) && state.restarting != Some(true) {
        start(driver, spec, &one.container).await?;
    }
    resize(driver, spec, one, inspect).await?;
    if spec.discoverable {
        name(driver, spec, one, inspect).await?;
    }
    Ok(())
}

async fn resize(
    driver: &Driver,
    spec: &WorkloadSpec,
    one: &Listed,
    inspect: &ContainerInspectResponse,
) -> RuntimeResult<()> {
    let memory = create::memory(spec.size);
    let nano_cpus = create::nano_cpus(spec.size, driver.host.cores);
    let config = inspect.host_config.clone().unwrap_or_default();
    if config.memory == Some(memory) && config.nano_cpus == Some(nano_cpus) {
        return Ok(());
    }
    let update = ContainerUpdateBody {
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(nano_cpus),
        ..ContainerUpdateBody::default()
    };
    let call = driver.engine.docker.update_container(&one.container, update);
    driver.engine.call(format!("change the size of instance `{}`", one.identity.instance), call).await?;
    Ok(())
}

/// Gives an instance that was created without them its names. It leaves its network for about a tenth of a second and
/// comes back with the same address: open connections stand still for a moment and go on.
async fn name(
    driver: &Driver,
    spec: &WorkloadSpec,
    one: &Listed,
    inspect: &ContainerInspectResponse,
) -> RuntimeResult<()> {
    let wanted = create::aliases(spec);
    let network = network_name(&spec.key.environment);
    let networks = inspect.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let endpoint = networks.and_then(|networks| networks.get(&network));
    let known = endpoint.and_then(|endpoint| endpoint.aliases.clone()).unwrap_or_default();
    if wanted.iter().all(|alias| known.contains(alias)) {
        return Ok(());
    }
    let instance = &one.identity.instance;
    let address: Ipv4Addr = one.identity.facts.address.parse().map_err(|error| RuntimeError::Internal {
        doing: format!("read the address of instance `{instance}`"),
        source: Box::new(error),
    })?;
    if endpoint.is_some() {
        let leave = NetworkDisconnectRequest { container: one.container.clone(), force: Some(false) };
        let call = driver.engine.docker.disconnect_network(&network, leave);
        driver.engine.call(format!("rename instance `{instance}`"), call).await?;
    }
    let join = NetworkConnectRequest {
        container: one.container.clone(),
        endpoint_config: Some(create::settings(address, wanted)),
    };
    let call = driver.engine.docker.connect_network(&network, join);
    driver.engine.call(format!("rename instance `{instance}`"), call).await
}
