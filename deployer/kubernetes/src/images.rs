//! What registries tell about images. Nodes pull by themselves; Panda only asks who an image runs as and which digest a tag has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use panda_deployer::runtime::{PullImage, ResolvedImage, RuntimeError, RuntimeResult};
use panda_domain::ids::PlacementId;
use panda_domain::image::Digest;
use panda_domain::secret::Secret;
use serde::Deserialize;

use crate::causes::with_causes;
use crate::config::{KubernetesConfig, RegistryEndpoint};
use crate::reasons::{self, Reason};
use crate::runtime::Driver;

/// How long a registry may take to answer all that is asked about one image.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a call that must not wait looks on: most registries have answered by then.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How many images' users are remembered.
const REMEMBERED: usize = 4096;
/// Registries on this machine speak plain HTTP, for every engine.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The way to registries, and what they said; cheap to clone.
#[derive(Clone)]
pub(crate) struct Images {
    https: Client,
    http: Client,
    endpoints: Arc<BTreeMap<String, RegistryEndpoint>>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// The `USER` of images by digest, which never changes.
    users: HashMap<Digest, String>,
    asking: HashSet<Digest>,
    /// Errors that nobody was told yet.
    failed: HashMap<Digest, RuntimeError>,
}

/// What a look at an image came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Its `USER`, empty for root.
    Known(String),
    /// The registry is being asked.
    Asked,
}

/// As much of an image's configuration as matters here.
#[derive(Debug, Default, Deserialize)]
struct ImageConfig {
    #[serde(default)]
    config: Option<Inside>,
}

#[derive(Debug, Default, Deserialize)]
struct Inside {
    #[serde(default, rename = "User")]
    user: Option<String>,
    #[serde(default, rename = "ExposedPorts")]
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
}

impl Images {
    /// Makes the clients. Nothing is asked yet.
    pub(crate) fn new(config: &KubernetesConfig) -> Self {
        let client = |protocol| {
            Client::new(ClientConfig {
                protocol,
                connect_timeout: Some(Duration::from_secs(10)),
                read_timeout: Some(LIMIT),
                user_agent: "panda",
                ..ClientConfig::default()
            })
        };
        Self {
            https: client(ClientProtocol::Https),
            http: client(ClientProtocol::Http),
            endpoints: Arc::new(config.registries.clone()),
            inner: Arc::default(),
        }
    }

    /// Returns who an image runs as. Asks on its own behind a call that must not wait, and hints when it is known.
    pub(crate) async fn user(
        &self,
        driver: &Driver,
        image: &PullImage,
        placement: &PlacementId,
    ) -> RuntimeResult<Looked> {
        {
            let mut inner = self.lock();
            if let Some(user) = inner.users.get(&image.digest) {
                return Ok(Looked::Known(user.clone()));
            }
            if let Some(error) = inner.failed.remove(&image.digest) {
                return Err(error);
            }
            if !inner.asking.insert(image.digest.clone()) {
                return Ok(Looked::Asked);
            }
        }
        let (done, answered) = tokio::sync::oneshot::channel();
        let (images, image, placement) = (self.clone(), image.clone(), placement.clone());
        let signals = driver.view.signals.clone();
        driver.spawn(async move {
            let asked = images.ask(&image).await;
            // Whoever asked first may still be there to hear it; else the next one is told.
            if let Err(answer) = done.send(asked) {
                images.note(&image.digest, answer);
                signals.hint(Some(placement));
            } else {
                images.lock().asking.remove(&image.digest);
            }
        });
        match tokio::time::timeout(AT_ONCE, answered).await {
            Ok(Ok(answer)) => answer.map(Looked::Known),
            Ok(Err(_)) | Err(_) => Ok(Looked::Asked),
        }
    }

    /// Fails when an image isn't to be had.
    pub(crate) async fn is_there(&self, image: &PullImage) -> RuntimeResult<()> {
        let (client, reference) = self.reference_of(image);
        let doing = format!("pull image `{}`", image.reference());
        let auth = auth_of(image);
        within(&doing, async { client.fetch_manifest_digest(&reference, &auth).await.map(drop) }).await
    }

    /// Asks what a reference means now.
    pub(crate) async fn resolve(
        &self,
        text: &str,
        login: Option<(&str, &Secret)>,
    ) -> RuntimeResult<ResolvedImage> {
        let doing = format!("pull image `{text}`");
        let parsed: Reference = text.parse().map_err(|_| RuntimeError::Rejected {
            doing: doing.clone(),
            reason: "its name isn't that of an image".to_owned(),
        })?;
        let (client, reference) = self.elsewhere(&parsed);
        let auth = match login {
            Some((user, secret)) => RegistryAuth::Basic(user.to_owned(), secret.reveal().to_owned()),
            None => RegistryAuth::Anonymous,
        };
        let asked = client.pull_manifest_and_config_and_list_digest(&reference, &auth);
        let (_, digest, config, list) = within(&doing, asked).await?;
        // A list of images is meant as a whole: nodes take what fits their processor.
        let digest = list.unwrap_or(digest);
        let digest = digest.parse().map_err(|_| RuntimeError::Rejected {
            doing: doing.clone(),
            reason: "the registry's digest of it can't be read".to_owned(),
        })?;
        let inside = read(&config);
        let exposed = inside.exposed_ports.unwrap_or_default();
        let exposed = ResolvedImage::tcp_ports(exposed.keys());
        let user = inside.user.unwrap_or_default();
        self.remember(&digest, &user);
        Ok(ResolvedImage { digest, exposed, user })
    }

    /// Asks a registry for an image's user, unless that is known.
    pub(crate) async fn ask(&self, image: &PullImage) -> RuntimeResult<String> {
        if let Some(user) = self.lock().users.get(&image.digest) {
            return Ok(user.clone());
        }
        let (client, reference) = self.reference_of(image);
        let doing = format!("pull image `{}`", image.reference());
        let auth = auth_of(image);
        let (_, _, config) = within(&doing, client.pull_manifest_and_config(&reference, &auth)).await?;
        let user = read(&config).user.unwrap_or_default();
        self.remember(&image.digest, &user);
        Ok(user)
    }

    fn note(&self, digest: &Digest, answer: RuntimeResult<String>) {
        let mut inner = self.lock();
        inner.asking.remove(digest);
        if let Err(error) = answer {
            inner.failed.insert(digest.clone(), error);
        }
    }

    fn remember(&self, digest: &Digest, user: &str) {
        let mut inner = self.lock();
        if inner.users.len() >= REMEMBERED {
            inner.users.clear();
        }
        inner.users.insert(digest.clone(), user.to_owned());
    }

    fn reference_of(&self, image: &PullImage) -> (&Client, Reference) {
        let text = image.reference();
        if let Ok(reference) = text.parse::<Reference>() {
            return self.elsewhere(&reference);
        }
        // It was a reference when it was resolved; the registry will say what is wrong with it.
        let (host, path) = image.host_and_path();
        self.elsewhere(&Reference::with_digest(host.to_owned(), path.to_owned(), image.digest.to_string()))
    }

    /// Returns how a reference is asked for: by which protocol and of which host.
    fn elsewhere(&self, reference: &Reference) -> (&Client, Reference) {
        let registry = reference.registry();
        let (host, plain) = match self.endpoints.get(registry) {
            Some(endpoint) => (endpoint.host.as_str(), endpoint.plain_http),
            None => (registry, is_local(registry)),
        };
        let client = if plain { &self.http } else { &self.https };
        let (host, repository) = (host.to_owned(), reference.repository().to_owned());
        let moved = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Reference::with_digest(host, repository, digest.to_owned()),
            (None, tag) => Reference::with_tag(host, repository, tag.unwrap_or("latest").to_owned()),
        };
        (client, moved)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a token for an image in the platform's own registry.
fn auth_of(image: &PullImage) -> RegistryAuth {
    match &image.login {
        Some(key) => {
            RegistryAuth::Bearer(key.pull_token(image.host_and_path().1, LIMIT * 2).reveal().to_owned())
        }
        None => RegistryAuth::Anonymous,
    }
}

async fn within<T>(
    doing: &str,
    asked: impl Future<Output = Result<T, OciDistributionError>>,
) -> RuntimeResult<T> {
    match tokio::time::timeout(LIMIT, asked).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(explain(doing, &error)),
        Err(_) => Err(RuntimeError::Unavailable {
            doing: doing.to_owned(),
            source: Some(format!("the registry didn't answer within {} s", LIMIT.as_secs()).into()),
        }),
    }
}

/// Says in words for people why an image isn't to be had, and whether it may be later.
fn explain(doing: &str, error: &OciDistributionError) -> RuntimeError {
    let message = with_causes(error);
    let said = match error {
        OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => None,
        OciDistributionError::ServerError { code, .. } if *code == 429 || *code >= 500 => None,
        OciDistributionError::ImageManifestNotFoundError(_)
        | OciDistributionError::ServerError { code: 404, .. } => Some(reasons::pull("not found")),
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            Some(reasons::pull("unauthorized"))
        }
        _ => Some(reasons::pull(&registry_words(&message))),
    };
    match said {
        Some(Reason::Final(reason)) => RuntimeError::Rejected { doing: doing.to_owned(), reason },
        Some(Reason::MayPass(_)) | None => {
            RuntimeError::Unavailable { doing: doing.to_owned(), source: Some(message.into()) }
        }
    }
}

/// Registries' codes in the words that nodes use for the same.
fn registry_words(message: &str) -> String {
    message.replace("ManifestUnknown", "manifest unknown").replace("NameUnknown", "name unknown")
}

fn read(config: &str) -> Inside {
    serde_json::from_str::<ImageConfig>(config).unwrap_or_default().config.unwrap_or_default()
}

fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    LOCAL.contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_asked_for_where_its_registry_really_is() {
        let mut config = KubernetesConfig::new("test");
        let mirror = RegistryEndpoint { host: "mirror:5000".into(), plain_http: true };
        config.registries.insert("docker.io".into(), mirror);
        let images = Images::new(&config);
        let asked = |text: &str| images.elsewhere(&text.parse().unwrap()).1.whole();
        assert_eq!(asked("python:3.13-slim"), "mirror:5000/library/python:3.13-slim");
        assert_eq!(asked("ghcr.io/a/b"), "ghcr.io/a/b:latest");
        assert!(is_local("127.0.0.1:5000") && is_local("localhost") && !is_local("local.example:5000"));
    }

    #[test]
    fn an_images_configuration_tells_its_user_and_its_ports() {
        let inside = read(r#"{"config":{"User":"node","ExposedPorts":{"8080/tcp":{},"53/udp":{}}}}"#);
        assert_eq!(inside.user.as_deref(), Some("node"));
        assert_eq!(ResolvedImage::tcp_ports(inside.exposed_ports.unwrap().keys()), [8080]);
        assert_eq!(read("{}").user, None);
    }

    #[test]
    fn what_isnt_there_is_told_from_what_doesnt_answer() {
        let gone = OciDistributionError::ImageManifestNotFoundError("x".into());
        let RuntimeError::Rejected { reason, .. } = explain("pull", &gone) else { panic!("it is refused") };
        assert!(reason.contains("isn't in the registry"), "{reason}");
        let busy =
            OciDistributionError::ServerError { code: 503, url: String::new(), message: String::new() };
        assert!(explain("pull", &busy).is_transient());
    }
}
