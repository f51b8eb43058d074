//! A workload's objects: built, and applied together.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use panda_deployer::runtime::{ImageUser, Progress, RuntimeResult, WorkloadSpec};

use super::refused;
use crate::images::Looked;
use crate::labels;
use crate::names;
use crate::objects::container::{self, RunsAs};
use crate::objects::deployment::{Workload, deployment};
use crate::objects::{Place, config_map, disruption_budget, files, secret};
use crate::runtime::Driver;

/// For how long nodes may log in with what they are given; it is renewed when half of that is over.
const LOGIN: Duration = Duration::from_hours(365 * 24);

/// What a Deployment is built on. What froze at the first start stays as the one that is there has it: who the image runs as,
/// and the names of variables, of which some come and go with the app's neighbours.
#[derive(Debug, Clone, Copy)]
pub(super) enum Basis<'a> {
    New(RunsAs),
    Present(&'a Deployment),
}

impl Driver {
    /// Creates a workload that isn't there.
    pub(super) async fn create(&self, namespace: &str, spec: &WorkloadSpec) -> RuntimeResult<Progress> {
        let Some(runs_as) = self.runs_as(spec).await? else { return Ok(Progress::Working) };
        let name = names::workload(spec);
        // The Deployment is what a workload is found by after a crash, so nothing comes before it; pods that are quicker than
        // their secret wait for it.
        tokio::try_join!(
            self.apply_deployment(namespace, spec, Basis::New(runs_as)),
            self.apply_beside(namespace, spec, &name),
            self.apply_budget(namespace, spec, &name),
            self.ensure_autoscaler(namespace, spec, &name),
        )?;
        Ok(Progress::Converged)
    }

    /// Learns who the image runs as; `None` while that is being asked. Refuses root where the team does.
    async fn runs_as(&self, spec: &WorkloadSpec) -> RuntimeResult<Option<RunsAs>> {
        if spec.user == ImageUser::Built {
            return Ok(Some(RunsAs::Ours));
        }
        let user = match self.images.user(self, &spec.image, &spec.key.placement).await? {
            Looked::Known(user) => user,
            Looked::Asked => return Ok(None),
        };
        let runs_as = RunsAs::of(spec.user, &user);
        if runs_as == RunsAs::Root && spec.user == ImageUser::ForeignRestricted {
            return Err(refused(spec, container::REFUSES_ROOT));
        }
        Ok(Some(runs_as))
    }

    /// Builds a workload's Deployment.
    pub(super) fn deployment_of(
        &self,
        namespace: &str,
        spec: &WorkloadSpec,
        basis: Basis<'_>,
    ) -> RuntimeResult<Deployment> {
        let (name, runs_as, variables) = match basis {
            Basis::New(runs_as) => (names::workload(spec), runs_as, spec.env.0.keys().cloned().collect()),
            Basis::Present(present) => (present.name_any(), runs_as_of(present), variables_of(present)),
        };
        let login = login_name(&name);
        let workload = Workload {
            place: self.place(namespace, spec, &name),
            spec,
            variables: &variables,
            runs_as,
            requests: self.config.requests,
            least_drain_s: self.config.least_drain_s,
            login: spec.image.login.is_some().then_some(login.as_str()),
        };
        let mut built = deployment(&workload, &files::keyed(&spec.files)?);
        if spec.image.login.is_some() {
            built.annotations_mut().insert(labels::RENEW_LOGIN.to_owned(), self.renew_ms(basis).to_string());
        }
        Ok(built)
    }

    pub(super) async fn apply_deployment(
        &self,
        namespace: &str,
        spec: &WorkloadSpec,
        basis: Basis<'_>,
    ) -> RuntimeResult<()> {
        let mut wanted = self.deployment_of(namespace, spec, basis)?;
        if let (Basis::Present(present), Some(_)) = (basis, spec.autoscale) {
            self.give_up_replicas(namespace, present).await?;
            wanted.spec.get_or_insert_default().replicas = None;
        }
        let api = self.cluster.within::<Deployment>(namespace);
        let applied = self.cluster.apply(&api, &wanted).await?;
        if signal_of(&wanted) != signal_of(&applied) {
            self.cluster.remove(&api, &applied).await?;
            let signal = &spec.shutdown.signal;
            return Err(refused(
                spec,
                format!(
                    "this cluster can't end an app with {signal}: it lacks the feature ContainerStopSignals; set `STOPSIGNAL {signal}` in the image instead"
                ),
            ));
        }
        self.view.deployments.wrote(applied);
        Ok(())
    }

    /// Applies what a workload's pods read: variables, files, the login to the registry.
    pub(super) async fn apply_beside(
        &self,
        namespace: &str,
        spec: &WorkloadSpec,
        name: &str,
    ) -> RuntimeResult<()> {
        let place = self.place(namespace, spec, name);
        let keyed = files::keyed(&spec.files)?;
        let (secrets, maps) =
            (self.cluster.within::<Secret>(namespace), self.cluster.within::<ConfigMap>(namespace));
        let data = secret::secret(&place, &spec.env, &keyed);
        let texts = config_map::config_map(&place, &keyed);
        let login = spec.image.login.as_ref().map(|key| {
            let (host, path) = spec.image.host_and_path();
            let token = key.login(path, LOGIN);
            secret::login(&place.named(login_name(name)), host, "panda", token.reveal())
        });
        tokio::try_join!(
            self.cluster.apply(&secrets, &data),
            async {
                match &texts {
                    Some(texts) => self.cluster.apply(&maps, texts).await.map(drop),
                    None => Ok(()),
                }
            },
            async {
                match &login {
                    Some(login) => self.cluster.apply(&secrets, login).await.map(drop),
                    None => Ok(()),
                }
            },
        )?;
        Ok(())
    }

    /// Applies or removes the budget of disruption, by the number of replicas.
    pub(super) async fn apply_budget(
        &self,
        namespace: &str,
        spec: &WorkloadSpec,
        name: &str,
    ) -> RuntimeResult<()> {
        let budgets = self.cluster.within::<PodDisruptionBudget>(namespace);
        match disruption_budget::disruption_budget(&self.place(namespace, spec, name), spec) {
            Some(budget) => self.cluster.apply(&budgets, &budget).await.map(drop),
            None if self.view.deployments.get(namespace, name).is_some() => {
                self.cluster.remove_named(&budgets, name).await
            }
            None => Ok(()),
        }
    }

    /// Tells whether the nodes' login should be renewed.
    pub(super) fn login_is_old(&self, spec: &WorkloadSpec, present: &Deployment) -> bool {
        let renew = labels::annotation(&present.metadata, labels::RENEW_LOGIN);
        spec.image.login.is_some()
            && renew.and_then(|at| at.parse().ok()).is_none_or(|at: i64| at <= self.config.clock.now_ms())
    }

    /// When the login has to be renewed: as is noted, until that time is over.
    fn renew_ms(&self, basis: Basis<'_>) -> i64 {
        let now = self.config.clock.now_ms();
        let noted = match basis {
            Basis::New(_) => None,
            Basis::Present(present) => labels::annotation(&present.metadata, labels::RENEW_LOGIN),
        };
        let noted = noted.and_then(|at| at.parse().ok()).filter(|at| *at > now);
        noted.unwrap_or_else(|| now + i64::try_from(LOGIN.as_millis() / 2).unwrap_or(i64::MAX / 2))
    }

    pub(crate) fn place(&self, namespace: &str, spec: &WorkloadSpec, name: &str) -> Place {
        Place { namespace: namespace.to_owned(), name: name.to_owned(), labels: self.owner.workload(spec) }
    }
}

/// Returns the name of the secret with the login to the registry.
pub(crate) fn login_name(workload: &str) -> String {
    format!("{workload}-pull")
}

fn container_of(deployment: &Deployment) -> Option<&container::Container> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.iter().find(|one| one.name == container::NAME)
}

fn variables_of(deployment: &Deployment) -> Vec<String> {
    let env = container_of(deployment).and_then(|container| container.env.as_ref());
    let named = env
        .into_iter()
        .flatten()
        .filter(|variable| variable.value_from.as_ref().is_some_and(|from| from.secret_key_ref.is_some()));
    named.map(|variable| variable.name.clone()).collect()
}

fn signal_of(deployment: &Deployment) -> Option<&str> {
    container_of(deployment)?.lifecycle.as_ref()?.stop_signal.as_deref()
}

fn runs_as_of(deployment: &Deployment) -> RunsAs {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let root = template.and_then(|meta| labels::annotation(meta, labels::RUNS_AS_ROOT)) == Some("true");
    let security = container_of(deployment).and_then(|container| container.security_context.as_ref());
    match security {
        _ if root => RunsAs::Root,
        Some(security) if security.run_as_user == Some(container::USER) => RunsAs::Ours,
        Some(security) if security.run_as_non_root == Some(true) => RunsAs::Number,
        _ => RunsAs::Name,
    }
}
