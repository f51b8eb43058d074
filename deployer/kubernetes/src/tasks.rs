//! Tasks: jobs that start one pod, once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use panda_deployer::runtime::{ImageUser, RuntimeError, RuntimeResult, TaskKey, TaskSpec, TaskStatus};
use serde_json::json;

use crate::cluster::{absent, doing};
use crate::labels;
use crate::names;
use crate::objects::container::{self, RunsAs};
use crate::objects::job::{self, Task};
use crate::objects::{MANAGER, Place, config_map, files, secret};
use crate::pods;
use crate::runtime::Driver;
use crate::workloads::login_name;

/// The exit code of a process that was killed: 128 + SIGKILL.
const KILLED: i64 = 137;
/// What pods and jobs say when their time was over.
const DEADLINE: &str = "DeadlineExceeded";

impl Driver {
    /// Starts a task unless it was started before.
    pub(crate) async fn start_task(&self, spec: &TaskSpec) -> RuntimeResult<()> {
        self.view.fresh()?;
        if self.job(&spec.key).is_some() {
            return Ok(());
        }
        let namespace = self.view.namespace(&spec.key.environment).ok_or_else(|| RuntimeError::Conflict {
            what: format!("the namespace of environment `{}`", spec.key.environment.environment),
        })?;
        let runs_as = self.task_runs_as(spec).await?;
        let place = Place { namespace, name: names::task(&spec.key), labels: self.owner.task(spec) };
        self.give_to_task(&place, spec).await?;
        let keyed = files::keyed(&spec.files)?;
        let login = login_name(&place.name);
        let wanted = job::job(
            &Task {
                place: place.clone(),
                spec,
                runs_as,
                requests: self.config.requests,
                login: spec.image.login.is_some().then_some(login.as_str()),
            },
            &keyed,
        );
        let api = self.cluster.within::<Job>(&place.namespace);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let created = api.create(&params, &wanted);
        match self.cluster.call(doing::<Job>("create", &place.name), created).await {
            Ok(made) => {
                self.view.jobs.wrote(made);
                self.watch_deadline(spec);
            }
            // Somebody else created it at this moment: the same id is the same task.
            Err(RuntimeError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn task_runs_as(&self, spec: &TaskSpec) -> RuntimeResult<RunsAs> {
        if spec.user == ImageUser::Built {
            return Ok(RunsAs::Ours);
        }
        let runs_as = RunsAs::of(spec.user, &self.images.ask(&spec.image).await?);
        if runs_as == RunsAs::Root && spec.user == ImageUser::ForeignRestricted {
            return Err(RuntimeError::Rejected {
                doing: format!("run a task of app `{}`", spec.app),
                reason: container::REFUSES_ROOT.to_owned(),
            });
        }
        Ok(runs_as)
    }

    /// Applies what the task's pod reads. It lies there before the job does: a task waits for nothing.
    async fn give_to_task(&self, place: &Place, spec: &TaskSpec) -> RuntimeResult<()> {
        let keyed = files::keyed(&spec.files)?;
        let secrets = self.cluster.within::<Secret>(&place.namespace);
        self.cluster.apply(&secrets, &secret::secret(place, &spec.env, &keyed)).await?;
        if let Some(texts) = config_map::config_map(place, &keyed) {
            self.cluster.apply(&self.cluster.within::<ConfigMap>(&place.namespace), &texts).await?;
        }
        if let Some(key) = &spec.image.login {
            let (host, path) = spec.image.host_and_path();
            let token = key.login(path, job::longest(spec));
            let login = secret::login(&place.named(login_name(&place.name)), host, "panda", token.reveal());
            self.cluster.apply(&secrets, &login).await?;
        }
        Ok(())
    }

    /// Tells what a task does; ends it when its time is over.
    pub(crate) async fn task_status(&self, key: &TaskKey) -> RuntimeResult<TaskStatus> {
        let status = self.seen_task(key)?;
        if status == TaskStatus::Running
            && let Some(pod) = self.task_pod(key)
            && let Some(since) = pods::running_since(&pod)
            && let Some(seconds) = self.job(key).and_then(|job| timeout(&job))
            && self.config.clock.now().duration_since(since) >= seconds
        {
            self.end(&pod).await?;
        }
        Ok(status)
    }

    /// Tells what was last seen of a task.
    pub(crate) fn seen_task(&self, key: &TaskKey) -> RuntimeResult<TaskStatus> {
        self.view.fresh()?;
        let Some(job) = self.job(key) else { return Ok(TaskStatus::Absent) };
        Ok(status(&job, self.task_pod(key).as_deref()))
    }

    /// Ends the task in time even when nobody asks for its status. Where no driver is, its node does, somewhat later.
    fn watch_deadline(&self, spec: &TaskSpec) {
        let (driver, key) = (self.clone(), spec.key.clone());
        let limit = Duration::from_secs(u64::from(spec.timeout_s));
        self.spawn(async move {
            let begun = || driver.task_pod(&key).is_some_and(|pod| pods::running_since(&pod).is_some());
            if !driver.view.until(job::START, begun).await {
                return;
            }
            // What was told in whole seconds may be one short.
            tokio::time::sleep(limit + Duration::from_secs(1)).await;
            if let Err(error) = driver.task_status(&key).await {
                tracing::warn!(task.id = %key.task, %error, "task {} can't be looked at", key.task);
            }
        });
    }

    /// Makes a pod's time be over. It stays, with its log, which it wouldn't if it were removed.
    async fn end(&self, pod: &Pod) -> RuntimeResult<()> {
        let spec = pod.spec.as_ref();
        if spec.and_then(|spec| spec.active_deadline_seconds) == Some(1) {
            return Ok(());
        }
        let over = Patch::Merge(json!({ "spec": { "activeDeadlineSeconds": 1 } }));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.cluster.within::<Pod>(&pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        let ended = api.patch(&name, &params, &over);
        if let Some(ended) = absent(self.cluster.call(doing::<Pod>("end", &name), ended).await)? {
            self.view.pods.wrote(ended);
        }
        Ok(())
    }

    /// Kills a task; ended or absent is fine.
    pub(crate) async fn cancel_task(&self, key: &TaskKey) -> RuntimeResult<()> {
        if self.seen_task(key)? != TaskStatus::Running {
            return Ok(());
        }
        let Some(job) = self.job(key) else { return Ok(()) };
        let namespace = job.namespace().unwrap_or_default();
        let pod = self.task_pod(key).filter(|pod| pods::running_since(pod).is_some());
        // Of a pod that runs its log should stay: its own time is over at once. Any other is taken away by the job.
        let mut patch = json!({ "metadata": { "annotations": { labels::CANCELED: "true" } } });
        if pod.is_none() {
            patch["spec"] = json!({ "suspend": true });
        }
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.cluster.within::<Job>(&namespace);
        let name = job.name_any();
        let patch = Patch::Merge(&patch);
        let patched = api.patch(&name, &params, &patch);
        if let Some(noted) = absent(self.cluster.call(doing::<Job>("cancel", &name), patched).await)? {
            self.view.jobs.wrote(noted);
        }
        match pod {
            Some(pod) => self.end(&pod).await,
            None => Ok(()),
        }
    }

    /// Forgets a task; absent is fine.
    pub(crate) async fn remove_task(&self, key: &TaskKey) -> RuntimeResult<()> {
        let name = names::task(key);
        for namespace in self.view.namespaces_of(&key.environment) {
            let secrets = self.cluster.within::<Secret>(&namespace);
            let login = login_name(&name);
            let maps = self.cluster.within::<ConfigMap>(&namespace);
            let secrets_gone = try_join(
                self.cluster.remove_named(&secrets, &name),
                self.cluster.remove_named(&secrets, &login),
            );
            try_join(secrets_gone, self.cluster.remove_named(&maps, &name)).await?;
            if let Some(job) = self.view.jobs.get(&namespace, &name) {
                self.cluster.remove(&self.cluster.within::<Job>(&namespace), &*job).await?;
                self.view.jobs.removed(&job);
            }
        }
        Ok(())
    }

    /// Returns the pod of a task, the newest if there were several.
    pub(crate) fn task_pod(&self, key: &TaskKey) -> Option<Arc<Pod>> {
        let namespaces = self.view.namespaces_of(&key.environment).into_iter();
        let pods = namespaces.flat_map(|namespace| self.view.pods.within(&namespace));
        let of_task = pods.filter(|pod| {
            labels::is(&pod.metadata, labels::KIND_TASK) && labels::task(pod.labels()).as_ref() == Some(key)
        });
        of_task.max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|at| at.0))
    }

    fn job(&self, key: &TaskKey) -> Option<Arc<Job>> {
        let name = names::task(key);
        let mut namespaces = self.view.namespaces_of(&key.environment).into_iter();
        namespaces.find_map(|namespace| self.view.jobs.get(&namespace, &name))
    }
}

fn status(job: &Job, pod: Option<&Pod>) -> TaskStatus {
    let canceled = labels::annotation(&job.metadata, labels::CANCELED).is_some();
    let killed =
        |timed_out| TaskStatus::Ended { code: KILLED, oom: false, timed_out: timed_out && !canceled };
    let end = pod.and_then(pods::last_end);
    let late = pod.and_then(|pod| pod.status.as_ref()?.reason.as_deref()) == Some(DEADLINE);
    if late || (canceled && (pod.is_none() || end.is_some())) {
        return killed(late);
    }
    if let Some(end) = end {
        let exit = pods::exit(end);
        return TaskStatus::Ended { code: exit.code, oom: exit.oom, timed_out: false };
    }
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let failed = conditions.into_iter().flatten().find(|one| one.type_ == "Failed" && one.status == "True");
    match failed {
        // Its node was lost with it, or it never got one.
        Some(failed) => killed(failed.reason.as_deref() == Some(DEADLINE)),
        None => TaskStatus::Running,
    }
}

fn timeout(job: &Job) -> Option<SignedDuration> {
    let seconds = labels::annotation(&job.metadata, labels::TIMEOUT)?.parse().ok()?;
    Some(SignedDuration::from_secs(seconds))
}
