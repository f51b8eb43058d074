//! One Solve call: a Dockerfile and a directory in, a digest in the registry out.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, Exporter, SolveRequest};
use panda_domain::secret::Secret;
use tokio_util::task::AbortOnDropHandle;

use super::auth::Logins;
use super::filesync::{LocalFiles, SentFiles};
use super::session::{self, Offer};
use super::{BuildkitError, Buildkitd};

/// The only frontend; it is part of the daemon, nothing is pulled for it.
const FRONTEND: &str = "dockerfile.v0";

/// An image in a registry that holds the layers of earlier builds.
#[derive(Debug, Clone)]
pub struct CacheImage {
    /// `host/repository:tag`.
    pub reference: String,
    /// Whether the registry speaks plain HTTP.
    pub insecure: bool,
}

impl CacheImage {
    /// Returns its repository if it lies in the registry `host`.
    pub(crate) fn repository_in(&self, host: &str) -> Option<String> {
        let path = self.reference.strip_prefix(host)?.strip_prefix('/')?;
        let name = path.split('@').next().unwrap_or(path);
        Some(name.rsplit_once(':').map_or(name, |(repository, _)| repository).to_owned())
    }
}

/// Everything one Solve needs.
pub(crate) struct Solve {
    /// Names the build for the log and for the daemon.
    pub(crate) reference: String,
    /// Separates this app's cache mounts and file copies from others'.
    pub(crate) app_id: String,
    pub(crate) context: PathBuf,
    /// Holds `Dockerfile` and maybe `Dockerfile.dockerignore`.
    pub(crate) dockerfile: PathBuf,
    pub(crate) target: Option<String>,
    pub(crate) args: BTreeMap<String, String>,
    pub(crate) secrets: Arc<HashMap<String, Secret>>,
    pub(crate) logins: Arc<Logins>,
    /// `host/repository:tag` to push to.
    pub(crate) image: String,
    pub(crate) insecure: bool,
    pub(crate) use_cache: bool,
    pub(crate) cache: Option<CacheImage>,
    pub(crate) sent: Arc<SentFiles>,
}

/// A session that is open and the request that refers to it.
pub(crate) struct Prepared {
    request: SolveRequest,
    _session: AbortOnDropHandle<()>,
}

impl Solve {
    /// Opens the session.
    pub(crate) async fn prepare(self, daemon: &Buildkitd) -> Result<Prepared, BuildkitError> {
        let session = format!("{}-{:016x}", self.reference, rand::random::<u64>());
        let directories = HashMap::from([
            ("context".to_owned(), self.context.clone()),
            ("dockerfile".to_owned(), self.dockerfile.clone()),
        ]);
        let offer = Offer {
            id: session.clone(),
            shared_key: self.app_id.clone(),
            files: LocalFiles { directories: Arc::new(directories), sent: self.sent.clone() },
            secrets: self.secrets.clone(),
            auth: self.logins.clone(),
        };
        let guard = session::open(daemon, offer).await?;
        Ok(Prepared { request: self.request(session), _session: guard })
    }

    fn request(&self, session: String) -> SolveRequest {
        SolveRequest {
            r#ref: self.reference.clone(),
            session,
            frontend: FRONTEND.to_owned(),
            frontend_attrs: self.frontend_attributes(),
            exporters: vec![self.exporter()],
            cache: Some(CacheOptions {
                exports: self.cache.iter().map(|cache| cache_entry(cache, true)).collect(),
                imports: self.cache.iter().map(|cache| cache_entry(cache, false)).collect(),
                ..Default::default()
            }),
            // Without entitlements the daemon refuses host network and insecure steps.
            entitlements: Vec::new(),
            ..Default::default()
        }
    }

    fn frontend_attributes(&self) -> HashMap<String, String> {
        let mut attributes: HashMap<String, String> =
            self.args.iter().map(|(key, value)| (format!("build-arg:{key}"), value.clone())).collect();
        // After the user's arguments, so that none of them can take another app's cache mounts.
        attributes.insert("build-arg:BUILDKIT_CACHE_MOUNT_NS".to_owned(), self.app_id.clone());
        attributes.insert("filename".to_owned(), "Dockerfile".to_owned());
        if let Some(target) = &self.target {
            attributes.insert("target".to_owned(), target.clone());
        }
        if !self.use_cache {
            attributes.insert("no-cache".to_owned(), String::new());
        }
        if let Some(cache) = &self.cache {
            // The frontend reads imports from here; those of the request alone are ignored.
            let imports = serde_json::json!([{
                "Type": "registry",
                "Attrs": { "ref": cache.reference, "registry.insecure": cache.insecure.to_string() },
            }]);
            attributes.insert("cache-imports".to_owned(), imports.to_string());
        }
        attributes
    }

    fn exporter(&self) -> Exporter {
        let attributes = [
            ("name", self.image.clone()),
            ("push", "true".to_owned()),
            ("oci-mediatypes", "true".to_owned()),
            ("registry.insecure", self.insecure.to_string()),
        ];
        Exporter { r#type: "image".to_owned(), attrs: owned(attributes) }
    }
}

fn cache_entry(cache: &CacheImage, export: bool) -> CacheOptionsEntry {
    let mut attrs =
        owned([("ref", cache.reference.clone()), ("registry.insecure", cache.insecure.to_string())]);
    if export {
        let more = [
            ("mode", "max"),
            ("ignore-error", "true"),
            ("image-manifest", "true"),
            ("oci-mediatypes", "true"),
        ];
        attrs.extend(owned(more.map(|(key, value)| (key, value.to_owned()))));
    }
    CacheOptionsEntry { r#type: "registry".to_owned(), attrs }
}

fn owned<const N: usize>(pairs: [(&str, String); N]) -> HashMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

impl Prepared {
    /// Builds and pushes; returns the digest. Dropping the future cancels the build and its processes.
    pub(crate) async fn run(self, daemon: &Buildkitd) -> Result<String, tonic::Status> {
        let response = daemon.client().solve(self.request).await?.into_inner();
        response
            .exporter_response
            .get("containerimage.digest")
            .cloned()
            .ok_or_else(|| tonic::Status::internal("the daemon pushed an image and gave no digest"))
    }
}
