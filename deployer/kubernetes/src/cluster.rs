//! The connection to the API server: deadlines, one field manager, and the server's errors in the words of the seam.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Api, Client, Config, Error, Resource, ResourceExt};
use panda_deployer::runtime::{RuntimeError, RuntimeResult};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::config::KubernetesConfig;
use crate::objects::MANAGER;

/// How many calls are under way at the same time; what the server can't take is retried as it says, so more would only queue there.
const AT_ONCE: usize = 16;
/// How long a connection may take to come about.
const CONNECTING: Duration = Duration::from_secs(10);

/// A connected cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// The client; streams are taken from it directly. It waits and asks again where the server says 429, 503 or 504.
    pub(crate) client: Client,
    timeout: Duration,
    gate: Arc<Semaphore>,
}

impl Cluster {
    /// Makes a client. Nothing is asked yet.
    pub(crate) async fn connect(config: &KubernetesConfig) -> RuntimeResult<Self> {
        let doing = "read how the cluster is reached";
        let client = client_config(config).await.and_then(|mut found| {
            found.connect_timeout = Some(CONNECTING);
            Ok(Client::try_from(found)?)
        });
        let client = client.map_err(|source| RuntimeError::Internal { doing: doing.to_owned(), source })?;
        Ok(Self { client, timeout: config.call_timeout, gate: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Returns the objects of a kind in a namespace.
    pub(crate) fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Returns the objects of a kind in the whole cluster.
    pub(crate) fn all<K>(&self) -> Api<K>
    where
        K: Resource,
        K::DynamicType: Default,
    {
        Api::all(self.client.clone())
    }

    /// Waits for one call, at most as long as calls may take. Boxed: a call's state is large, and would be again in every caller's.
    pub(crate) fn call<'a, T: Send + 'a>(
        &'a self,
        doing: impl Into<String>,
        call: impl Future<Output = Result<T, Error>> + Send + 'a,
    ) -> BoxFuture<'a, RuntimeResult<T>> {
        let (doing, call) = (doing.into(), Box::pin(call));
        Box::pin(async move {
            let taken = async {
                let _turn = self.gate.acquire().await;
                call.await
            };
            match tokio::time::timeout(self.timeout, taken).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => Err(translate(doing, error)),
                Err(_) => {
                    let source = Some(format!("no answer within {} s", self.timeout.as_secs()).into());
                    Err(RuntimeError::Unavailable { doing, source })
                }
            }
        })
    }

    /// Makes an object have the fields that are set in it, whoever set them before. Twice is once.
    pub(crate) async fn apply<K>(&self, api: &Api<K>, object: &K) -> RuntimeResult<K>
    where
        K: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + Sync,
        K::DynamicType: Default,
    {
        let name = object.name_any();
        let params = PatchParams::apply(MANAGER).force();
        self.call(doing::<K>("apply", &name), api.patch(&name, &params, &Patch::Apply(object))).await
    }

    /// Removes just this object, what depends on it afterwards; absent is fine. One that came meanwhile under the same name stays.
    pub(crate) async fn remove<K>(&self, api: &Api<K>, object: &K) -> RuntimeResult<()>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync,
        K::DynamicType: Default,
    {
        let preconditions = object.uid().map(|uid| Preconditions { uid: Some(uid), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        self.remove_with(api, &object.name_any(), &params).await
    }

    /// Removes what has this name; absent is fine.
    pub(crate) async fn remove_named<K>(&self, api: &Api<K>, name: &str) -> RuntimeResult<()>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync,
        K::DynamicType: Default,
    {
        let propagation_policy = Some(PropagationPolicy::Background);
        self.remove_with(api, name, &DeleteParams { propagation_policy, ..DeleteParams::default() }).await
    }

    pub(crate) async fn remove_with<K>(
        &self,
        api: &Api<K>,
        name: &str,
        params: &DeleteParams,
    ) -> RuntimeResult<()>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync,
        K::DynamicType: Default,
    {
        match self.call(doing::<K>("remove", name), api.delete(name, params)).await {
            // Another one of that name, or one that is on its way out already: both are none of ours to remove.
            Ok(_) | Err(RuntimeError::NotFound { .. } | RuntimeError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

async fn client_config(
    config: &KubernetesConfig,
) -> Result<Config, Box<dyn std::error::Error + Send + Sync>> {
    let Some(path) = config.kubeconfig.clone() else { return Ok(Config::infer().await?) };
    let file = tokio::task::spawn_blocking(move || Kubeconfig::read_from(path)).await??;
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    Ok(Config::from_custom_kubeconfig(file, &options).await?)
}

/// Says what is done with which object.
pub(crate) fn doing<K: Resource<DynamicType: Default>>(verb: &str, name: &str) -> String {
    format!("{verb} {} `{name}`", K::kind(&K::DynamicType::default()))
}

/// Puts an error of the API server into the words of the seam.
pub(crate) fn translate(doing: String, error: Error) -> RuntimeError {
    match error {
        Error::Api(status) => by_status(doing, *status),
        Error::Service(source) => RuntimeError::Unavailable { doing, source: Some(source) },
        Error::HyperError(_) | Error::ReadEvents(_) | Error::Auth(_) => {
            RuntimeError::Unavailable { doing, source: Some(Box::new(error)) }
        }
        other => RuntimeError::Internal { doing, source: Box::new(other) },
    }
}

fn by_status(doing: String, status: Status) -> RuntimeError {
    match status.code {
        404 => RuntimeError::NotFound { what: status.message },
        409 => RuntimeError::Conflict { what: status.message },
        // What is applied into a namespace that is on its way out.
        403 if status.message.contains("is being terminated") => {
            RuntimeError::Conflict { what: status.message }
        }
        400 | 403 | 405 | 413 | 415 | 422 => RuntimeError::Rejected { doing, reason: status.message },
        _ => RuntimeError::Unavailable { doing, source: Some(Box::new(Error::Api(Box::new(status)))) },
    }
}

/// Turns "isn't there" into `None`.
pub(crate) fn absent<T>(outcome: RuntimeResult<T>) -> RuntimeResult<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(RuntimeError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16, message: &str) -> RuntimeError {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        translate("apply".to_owned(), Error::Api(Box::new(status)))
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        for (code, message) in [
            (429, "too many requests"),
            (500, "failed calling webhook"),
            (503, ""),
            (410, "expired"),
            (401, "Unauthorized"),
            (409, "the object has been modified"),
            (403, "unable to create new content in namespace x because it is being terminated"),
        ] {
            assert!(said(code, message).is_transient(), "{code} {message}");
        }
        assert!(matches!(said(403, "exceeded quota"), RuntimeError::Rejected { .. }));
        assert!(matches!(said(422, "invalid"), RuntimeError::Rejected { .. }));
        assert!(matches!(said(404, "not found"), RuntimeError::NotFound { .. }));
    }
}
