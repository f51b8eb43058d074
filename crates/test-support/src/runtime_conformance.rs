//! The contract of the seam to the runtimes, as tests that run against every driver.
//!
//! A driver's test crate makes a [`Harness`] and calls [`runtime_contracts!`](crate::runtime_contracts); where real
//! containers run, [`runtime_contracts_of_containers!`](crate::runtime_contracts_of_containers) too, and where networks are closed,
//! [`runtime_contracts_of_closed_networks!`](crate::runtime_contracts_of_closed_networks).

pub mod autoscale;
pub mod containers;
pub mod failures;
pub mod insight;
pub mod tasks;
pub mod workloads;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::BoxFuture;
use panda_deployer::runtime::{
    EnvironmentKey, EnvironmentSpec, ImageUser, ObservedInstance, ObservedWorkload, Progress, PullImage,
    Runtime, SecretEnv, TaskKey, TaskSpec, WorkloadKey, WorkloadSpec,
};
use panda_domain::clock::Clock;
use panda_domain::formation::Size;
use panda_domain::ids::{IdSource, PlacementId};
use panda_domain::names::EnvironmentName;
use panda_domain::release::{HealthCheck, Shutdown};
use panda_domain::secret::Secret;

/// How long a real runtime may take for anything that a contract waits for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Makes a new runtime object on the same engine, as a restarted server does.
pub type Reconnect = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Runtime>>> + Send + Sync>;

/// What an image does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum App {
    /// Serves HTTP on `PORT`.
    Web,
    /// The same, but its user is root.
    Root,
    /// Exits with 1 at once.
    Exits,
    /// Runs and listens nowhere.
    NeverReady,
    /// Listens on localhost only.
    Localhost,
    /// Listens on 3999.
    OtherPort,
    /// Is ready, then eats memory until it is killed.
    EatsMemory,
    /// Has `sh` and `sleep`.
    Shell,
}

/// A runtime under test.
pub struct Harness {
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    /// Makes another object on the same engine, when the first has been dropped.
    pub reconnect: Reconnect,
    /// The images by what they do.
    pub images: HashMap<App, PullImage>,
    /// An image that no registry has.
    pub absent: PullImage,
    /// New ids.
    pub ids: IdSource,
    /// The clock to move, where time only passes by hand.
    pub manual: Option<Clock>,
}

/// An environment of one test's own.
pub struct Place {
    /// Its key.
    pub key: EnvironmentKey,
    /// An app in it.
    pub placement: PlacementId,
}

/// A contract: what it needs is the harness and an environment, which is cleared afterwards.
pub type Contract = for<'a> fn(&'a mut Harness, &'a Place) -> BoxFuture<'a, Result<()>>;

/// Runs one contract in an environment of its own and clears up, whatever came of it.
pub async fn run(mut harness: Harness, contract: Contract) -> Result<()> {
    let place = harness.place().await?;
    let outcome = contract(&mut harness, &place).await;
    let cleared = harness.clear(&place).await.context("clear up after the contract");
    outcome.and(cleared)
}

impl Harness {
    /// Makes an environment.
    pub async fn place(&self) -> Result<Place> {
        let key = EnvironmentKey { team: self.ids.next(), environment: self.ids.next() };
        let spec = EnvironmentSpec { key: key.clone(), name: EnvironmentName::production() };
        self.runtime.ensure_environment(&spec).await.context("ensure environment")?;
        Ok(Place { key, placement: self.ids.next() })
    }

    /// Removes everything in an environment and the environment itself.
    pub async fn clear(&self, place: &Place) -> Result<()> {
        let at_once = Shutdown { drain_s: 0, grace_s: 0, ..Shutdown::default() };
        self.until("the environment is empty", || async {
            let workloads = self.runtime.observe(&place.key).await?;
            for workload in &workloads {
                self.runtime.remove_workload(&workload.key, &at_once).await?;
            }
            Ok(workloads.is_empty().then_some(()))
        })
        .await?;
        self.runtime.remove_environment(&place.key).await.context("remove environment")
    }

    /// Returns a spec for one process of an app that does `app`, with short times.
    pub fn spec(&self, place: &Place, app: App, replicas: u32) -> WorkloadSpec {
        let env = BTreeMap::from([("PORT".to_owned(), Secret::new("8080"))]);
        WorkloadSpec {
            key: WorkloadKey {
                environment: place.key.clone(),
                placement: place.placement.clone(),
                process: "web".parse().expect("a process name"),
                release: self.ids.next(),
                revision: 0,
            },
            app: "shop".parse().expect("an app name"),
            environment_name: EnvironmentName::production(),
            release_number: 12,
            image: self.images[&app].clone(),
            user: ImageUser::Foreign,
            command: None,
            env: SecretEnv(env),
            files: Vec::new(),
            port: Some(8080),
            health: HealthCheck { interval_s: 1, failures: 1, ..HealthCheck::default() },
            shutdown: Shutdown { drain_s: 1, grace_s: 3, ..Shutdown::default() },
            replicas,
            autoscale: None,
            size: Size { cpu_millis: 500, memory_bytes: 96 << 20 },
            discoverable: true,
        }
    }

    /// Returns a spec for a task that runs `script` in a shell.
    pub fn task(&self, place: &Place, script: &str) -> TaskSpec {
        TaskSpec {
            key: TaskKey { environment: place.key.clone(), task: self.ids.next() },
            placement: place.placement.clone(),
            app: "shop".parse().expect("an app name"),
            image: self.images[&App::Shell].clone(),
            user: ImageUser::Foreign,
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: SecretEnv::default(),
            files: Vec::new(),
            size: Size { cpu_millis: 500, memory_bytes: 64 << 20 },
            tty: false,
            timeout_s: 60,
        }
    }

    /// Calls `ensure_workload` until it has converged.
    pub async fn converge(&self, spec: &WorkloadSpec) -> Result<()> {
        self.until("the workload converges", || async {
            let progress = self.runtime.ensure_workload(spec).await.context("ensure workload")?;
            Ok((progress == Progress::Converged).then_some(()))
        })
        .await
    }

    /// Converges and waits until all instances are ready; returns them.
    pub async fn serve(&self, spec: &WorkloadSpec) -> Result<Vec<ObservedInstance>> {
        self.converge(spec).await?;
        self.until("all instances are ready", || async {
            let workload = self.observed(&spec.key).await?;
            let ready = workload.filter(|w| w.ready() == spec.replicas as usize);
            Ok(ready.map(|workload| workload.instances))
        })
        .await
    }

    /// Returns a workload as it is observed now.
    pub async fn observed(&self, key: &WorkloadKey) -> Result<Option<ObservedWorkload>> {
        let workloads = self.runtime.observe(&key.environment).await.context("observe")?;
        Ok(workloads.into_iter().find(|workload| workload.key == *key))
    }

    /// Waits until the first instance of a workload is as wanted; returns it.
    pub async fn first(
        &self,
        key: &WorkloadKey,
        what: &str,
        wanted: impl Fn(&ObservedInstance) -> bool + Sync,
    ) -> Result<ObservedInstance> {
        self.until(what, || async {
            let workload = self.observed(key).await?;
            let first = workload.and_then(|workload| workload.instances.into_iter().next());
            Ok(first.filter(|instance| wanted(instance)))
        })
        .await
    }

    /// Polls until there is an answer, or fails naming what was waited for. A manual clock moves with each look.
    pub async fn until<T, F>(&self, what: &str, mut look: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        let (began, mut looks) = (Instant::now(), 0);
        loop {
            if let Some(found) = look().await.with_context(|| format!("while waiting until {what}"))? {
                return Ok(found);
            }
            looks += 1;
            if began.elapsed() > PATIENCE || (self.manual.is_some() && looks > 1000) {
                bail!("waited too long until {what}");
            }
            match &self.manual {
                Some(clock) => clock.advance(Duration::from_millis(100)),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// Makes one test of each contract; the argument is an async function that gives a [`Harness`], or `None` to skip.
#[macro_export]
macro_rules! runtime_contracts {
    ($harness:path) => {
        $crate::runtime_contracts!(@tests $harness, workloads:
            ensuring_a_workload_twice_starts_it_once
            a_workload_shrinks_and_grows
            surplus_is_drained_before_it_is_gone
            removing_what_is_absent_has_converged
            a_removed_workload_is_observed_draining_and_then_gone
            an_environment_with_workloads_is_not_removed
            an_environment_that_goes_and_comes_at_once_takes_workloads
            a_new_driver_adopts_what_runs
            workloads_that_nobody_wants_any_more_are_observed
            everything_that_is_held_is_in_the_inventory
            two_releases_of_a_process_run_side_by_side
            an_address_is_not_given_again
            a_worker_is_ready_once_it_runs
            a_change_is_hinted
        );
        $crate::runtime_contracts!(@tests $harness, autoscale:
            an_autoscaled_workload_starts_as_told_and_keeps_its_number
            an_autoscaled_workload_stays_within_its_bounds
            autoscaling_begins_and_ends_without_a_jump
        );
        $crate::runtime_contracts!(@tests $harness, failures:
            an_app_that_never_listens_is_not_ready_and_says_so
            an_app_on_localhost_is_not_ready_and_its_port_is_found
            an_app_on_another_port_is_not_ready_and_its_port_is_found
            an_app_that_exits_is_crashing_with_its_exit_code
            an_app_that_eats_its_memory_is_killed_and_says_so
            an_image_that_no_registry_has_is_refused_with_words
            a_root_image_is_marked_and_refused_where_root_is
        );
        $crate::runtime_contracts!(@tests $harness, tasks:
            a_task_runs_once_and_tells_its_exit_code
            a_task_beyond_its_time_is_killed
            canceling_a_task_twice_is_canceling_it_once
            a_removed_task_is_absent
            a_tasks_output_can_be_read
        );
        $crate::runtime_contracts!(@tests $harness, insight:
            logs_can_be_read_and_cut_to_the_newest
            exec_tells_output_and_exit_code
            exec_in_an_unknown_instance_is_not_found
            usage_is_told_for_each_running_instance
            a_manifest_shows_no_value_of_a_variable
        );
    };
    (@tests $harness:path, $module:ident: $($contract:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $contract() {
            if let Some(harness) = $harness().await {
                let contract: $crate::runtime_conformance::Contract =
                    |harness, place| Box::pin($crate::runtime_conformance::$module::$contract(harness, place));
                let outcome = $crate::runtime_conformance::run(harness, contract).await;
                outcome.expect("the contract holds");
            }
        }
    )*};
}

/// Makes one test of each contract that only real containers can keep.
#[macro_export]
macro_rules! runtime_contracts_of_containers {
    ($harness:path) => {
        $crate::runtime_contracts!(@tests $harness, containers:
            an_app_is_ready_by_its_http_path
            an_app_that_answers_badly_is_not_ready_and_says_how
            variables_arrive_byte_for_byte
            files_are_mounted_and_only_readable
            a_file_outside_of_the_container_is_refused
            instances_know_who_they_are
            apps_of_an_environment_find_each_other_by_name
            lines_of_a_later_instance_are_followed_too
            lines_of_an_ended_run_are_kept
            exec_passes_input_on
        );
    };
}

/// Makes one test of each contract that needs a network which keeps environments apart.
#[macro_export]
macro_rules! runtime_contracts_of_closed_networks {
    ($harness:path) => {
        $crate::runtime_contracts!(@tests $harness, containers:
            apps_of_two_environments_cannot_reach_each_other
        );
    };
}
