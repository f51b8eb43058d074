//! Labels: whose an object is. A restarted driver knows nothing but these; names are for people.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use panda_deployer::runtime::{EnvironmentKey, TaskKey, TaskSpec, WorkloadKey, WorkloadSpec};
use panda_domain::ids::PlacementId;

/// Which installation of Panda made it.
pub(crate) const INSTALLATION: &str = "dev.panda/installation";
/// What it is for: see the `KIND_…`s.
pub(crate) const KIND: &str = "dev.panda/kind";
/// Whose environment.
pub(crate) const TEAM: &str = "dev.panda/team";
/// Which environment.
pub(crate) const ENVIRONMENT: &str = "dev.panda/environment";
/// Which app in it.
pub(crate) const PLACEMENT: &str = "dev.panda/placement";
/// Which process.
pub(crate) const PROCESS: &str = "dev.panda/process";
/// Which release.
pub(crate) const RELEASE: &str = "dev.panda/release";
/// Its number.
pub(crate) const RELEASE_NUMBER: &str = "dev.panda/release-number";
/// Which attempt at it.
pub(crate) const REVISION: &str = "dev.panda/revision";
/// Which task.
pub(crate) const TASK: &str = "dev.panda/task";

/// An environment's namespace, and what keeps it in bounds.
pub(crate) const KIND_ENVIRONMENT: &str = "environment";
/// A workload and its instances.
pub(crate) const KIND_INSTANCE: &str = "instance";
/// A task.
pub(crate) const KIND_TASK: &str = "task";
/// What leads requests to instances.
pub(crate) const KIND_ROUTE: &str = "route";

/// What publishes a port.
pub(crate) const KIND_PORT: &str = "port";

/// Annotation: the environment's name, which may have characters that labels can't.
pub(crate) const ENVIRONMENT_NAME: &str = "dev.panda/environment-name";
/// Annotation: whether the main process runs as root.
pub(crate) const RUNS_AS_ROOT: &str = "dev.panda/runs-as-root";
/// Annotation: which version of the driver's builder made the pod template.
pub(crate) const TEMPLATE: &str = "dev.panda/template";
/// Annotation of a task: somebody canceled it.
pub(crate) const CANCELED: &str = "dev.panda/canceled";
/// Annotation of a task: when its time is over.
pub(crate) const TIMEOUT: &str = "dev.panda/timeout-s";
/// Annotation: when the login to the registry has to be renewed, milliseconds since 1970.
pub(crate) const RENEW_LOGIN: &str = "dev.panda/renew-login-ms";
/// Annotation of Kubernetes: which pod goes first when a Deployment shrinks.
pub(crate) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A set of labels.
pub type Labels = BTreeMap<String, String>;

/// What all objects of an installation carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub installation: String,
    /// Labels that mean nothing to us.
    pub labels: Labels,
}

impl Owner {
    /// Returns the labels of an environment's own objects.
    pub fn environment(&self, key: &EnvironmentKey) -> Labels {
        self.of_kind(key, KIND_ENVIRONMENT)
    }

    /// Returns the labels of a workload's objects.
    pub fn workload(&self, spec: &WorkloadSpec) -> Labels {
        let mut labels = self.of_kind(&spec.key.environment, KIND_INSTANCE);
        labels.extend(selector(&spec.key));
        labels.extend([
            (RELEASE_NUMBER.to_owned(), spec.release_number.to_string()),
            ("app.kubernetes.io/name".to_owned(), spec.app.to_string()),
            ("app.kubernetes.io/component".to_owned(), spec.key.process.to_string()),
            ("app.kubernetes.io/version".to_owned(), format!("v{}", spec.release_number)),
        ]);
        labels
    }

    /// Returns the labels of what leads to a process, whichever release serves.
    pub fn route(&self, environment: &EnvironmentKey, placement: &PlacementId, app: &str) -> Labels {
        let mut labels = self.of_kind(environment, KIND_ROUTE);
        labels.extend([
            (PLACEMENT.to_owned(), placement.to_string()),
            ("app.kubernetes.io/name".to_owned(), app.to_owned()),
        ]);
        labels
    }

    /// Returns the labels of what publishes a port of an app.
    pub fn port(&self, environment: &EnvironmentKey, placement: &PlacementId, app: &str) -> Labels {
        let mut labels = self.route(environment, placement, app);
        labels.insert(KIND.to_owned(), KIND_PORT.to_owned());
        labels
    }

    /// Returns the labels of a task's objects.
    pub fn task(&self, spec: &TaskSpec) -> Labels {
        let mut labels = self.of_kind(&spec.key.environment, KIND_TASK);
        labels.extend([
            (TASK.to_owned(), spec.key.task.to_string()),
            (PLACEMENT.to_owned(), spec.placement.to_string()),
            ("app.kubernetes.io/name".to_owned(), spec.app.to_string()),
        ]);
        labels
    }

    fn of_kind(&self, key: &EnvironmentKey, kind: &str) -> Labels {
        let ours = [
            (INSTALLATION, self.installation.as_str()),
            (KIND, kind),
            (TEAM, key.team.as_str()),
            (ENVIRONMENT, key.environment.as_str()),
            ("app.kubernetes.io/managed-by", "panda"),
        ];
        let ours = ours.map(|(name, value)| (name.to_owned(), value.to_owned()));
        // Ours last: nobody's label stands in for an identity.
        self.labels.clone().into_iter().chain(ours).collect()
    }
}

/// Returns the labels that only the instances of one workload have.
pub(crate) fn selector(key: &WorkloadKey) -> Labels {
    let labels = [
        (PLACEMENT, key.placement.to_string()),
        (PROCESS, key.process.to_string()),
        (RELEASE, key.release.to_string()),
        (REVISION, key.revision.to_string()),
    ];
    labels.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Reads whose environment an object belongs to.
pub(crate) fn environment(labels: &Labels) -> Option<EnvironmentKey> {
    Some(EnvironmentKey { team: parse(labels, TEAM)?, environment: parse(labels, ENVIRONMENT)? })
}

/// Reads which workload an object belongs to, and the release's number.
pub(crate) fn workload(labels: &Labels) -> Option<(WorkloadKey, u32)> {
    let key = WorkloadKey {
        environment: environment(labels)?,
        placement: parse(labels, PLACEMENT)?,
        process: parse(labels, PROCESS)?,
        release: parse(labels, RELEASE)?,
        revision: parse(labels, REVISION)?,
    };
    Some((key, parse(labels, RELEASE_NUMBER)?))
}

/// Reads which task an object belongs to.
pub(crate) fn task(labels: &Labels) -> Option<TaskKey> {
    Some(TaskKey { environment: environment(labels)?, task: parse(labels, TASK)? })
}

/// Reads the placement, if there is one.
pub(crate) fn placement(labels: &Labels) -> Option<PlacementId> {
    parse(labels, PLACEMENT)
}

/// Tells whether an object is of this kind.
pub(crate) fn is(meta: &ObjectMeta, kind: &str) -> bool {
    meta.labels.as_ref().and_then(|labels| labels.get(KIND)).is_some_and(|found| found == kind)
}

/// Reads an annotation.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

fn parse<T: std::str::FromStr>(labels: &Labels, name: &str) -> Option<T> {
    labels.get(name)?.parse().ok()
}
