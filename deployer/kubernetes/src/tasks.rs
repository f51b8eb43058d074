//! Tasks: jobs that start one pod, once.

use std::sync::Arc;

use futures_util::future::try_join;
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
            Ok(made) => drop(self.view.jobs.wrote(made)),
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
            let token = key.pull_token(path, job::longest(spec));
            let login = secret::login(&place.named(login_name(&place.name)), host, "panda", token.reveal());
            self.cluster.apply(&secrets, &login).await?;
        }
        Ok(())
    }

    /// Tells what a task does. Nodes end it when its time is over.
    pub(crate) fn task_status(&self, key: &TaskKey) -> RuntimeResult<TaskStatus> {
        self.view.fresh()?;
        let Some(job) = self.job(key) else { return Ok(TaskStatus::Absent) };
        Ok(status(&job, self.task_pod(key).as_deref()))
    }

    /// Kills a task; ended or absent is fine.
    pub(crate) async fn cancel_task(&self, key: &TaskKey) -> RuntimeResult<()> {
        if self.task_status(key)? != TaskStatus::Running {
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
        if let Some(pod) = pod {
            let over = Patch::Merge(json!({ "spec": { "activeDeadlineSeconds": 1 } }));
            let api = self.cluster.within::<Pod>(&namespace);
            let name = pod.name_any();
            let ended = api.patch(&name, &params, &over);
            absent(self.cluster.call(doing::<Pod>("end", &name), ended).await)?;
        }
        Ok(())
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
    let ended = |code, oom, timed_out| TaskStatus::Ended { code, oom, timed_out };
    if let Some(pod) = pod
        && let Some(end) = pods::last_end(pod)
    {
        let late = pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some(DEADLINE);
        return match (late, canceled) {
            (true, true) => ended(KILLED, false, false),
            (true, false) => ended(KILLED, false, true),
            (false, _) => {
                let exit = pods::exit(end);
                ended(exit.code, exit.oom, false)
            }
        };
    }
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let failed = conditions.into_iter().flatten().find(|one| one.type_ == "Failed" && one.status == "True");
    match failed {
        // Its node was lost with it, or it never got one.
        Some(failed) => ended(KILLED, false, failed.reason.as_deref() == Some(DEADLINE) && !canceled),
        None if canceled && pod.is_none() => ended(KILLED, false, false),
        None => TaskStatus::Running,
    }
}
