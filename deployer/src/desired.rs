//! Release → workload specs and routes: pure, the same for every runtime.

use std::collections::BTreeMap;

use panda_domain::app::Placement;
use panda_domain::env::Env;
use panda_domain::formation::{Formation, Scale};
use panda_domain::image::Digest;
use panda_domain::names::{EnvKey, ProcessName};
use panda_domain::release::{FileContent, ProcessSpec, ReleaseConfig, ReleaseImage};
use panda_domain::secret::Secret;
use panda_registry_token::RegistryKey;

use crate::autoscale::Standing;
use crate::plan::{Attempt, ProcessWish};
use crate::runtime::{EnvironmentKey, FileSpec, ImageUser, PullImage, SecretEnv, WorkloadKey, WorkloadSpec};

/// Everything about one release that its instances need.
#[derive(Debug, Clone)]
pub struct Running<'a> {
    /// The app in its environment.
    pub placement: &'a Placement,
    /// Which attempt.
    pub attempt: &'a Attempt,
    /// The release's number.
    pub number: u32,
    /// Its image.
    pub image: &'a ReleaseImage,
    /// Its settings.
    pub config: &'a ReleaseConfig,
    /// Its env, decrypted.
    pub env: &'a Env,
    /// The commit, if known.
    pub git_sha: Option<&'a str>,
    /// Where the app answers.
    pub url: &'a str,
    /// URLs of the environment's apps inside it: `PANDA_<APP>_URL` → URL. The app's own isn't handed to it.
    pub neighbours: &'a BTreeMap<String, String>,
    /// Whether the team refuses images that run as root.
    pub restricted: bool,
    /// The host that images of the platform's registry are pulled from, and its key.
    pub pull_url: &'a str,
    /// Login for it.
    pub login: Option<RegistryKey>,
}

/// A file names a secret that the env doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the file `{path}` wants the variable `{key}`, which isn't set")]
pub struct MissingVariable {
    /// The file.
    pub path: String,
    /// The variable.
    pub key: String,
}

/// Returns the names of a release's processes with how many instances of each are wanted: the formation's, else one, or what
/// the autoscaler wants now.
pub fn process_wishes(
    config: &ReleaseConfig,
    formation: &Formation,
    standing: &Standing<'_>,
) -> Vec<ProcessWish> {
    let wish = |(name, spec): (&ProcessName, &ProcessSpec)| ProcessWish {
        name: name.clone(),
        replicas: standing.wanted(name, &scale_of(formation, name)),
        startup: std::time::Duration::from_secs(u64::from(spec.health.startup_s)),
    };
    config.processes.iter().map(wish).collect()
}

/// Returns a process's scale.
pub fn scale_of(formation: &Formation, process: &ProcessName) -> Scale {
    formation.get(process).copied().unwrap_or_default()
}

impl Running<'_> {
    /// Returns the key of one process.
    pub fn key(&self, process: &ProcessName) -> WorkloadKey {
        WorkloadKey {
            environment: environment_of(self.placement),
            placement: self.placement.id.clone(),
            process: process.clone(),
            release: self.attempt.release.clone(),
            revision: self.attempt.revision,
        }
    }

    /// Returns the spec of one process at this scale.
    pub fn workload(
        &self,
        process: &ProcessName,
        spec: &ProcessSpec,
        scale: Scale,
    ) -> Result<WorkloadSpec, MissingVariable> {
        Ok(WorkloadSpec {
            key: self.key(process),
            app: self.placement.app_name.clone(),
            environment_name: self.placement.environment_name.clone(),
            release_number: self.number,
            image: self.pull_image(),
            user: self.user(),
            command: spec.command.clone(),
            env: self.variables(process, spec.port),
            files: self.files()?,
            port: spec.port,
            health: spec.health.clone(),
            shutdown: spec.shutdown.clone(),
            replicas: scale.replicas,
            autoscale: scale.autoscale,
            size: scale.size,
            discoverable: process.is_web() || self.config.processes.len() == 1,
        })
    }

    /// Returns the image as the runtime pulls it.
    pub fn pull_image(&self) -> PullImage {
        pull_image(self.image, self.pull_url, self.login.clone())
    }

    /// Returns who its containers run as.
    pub fn user(&self) -> ImageUser {
        match (self.image.built_here, self.restricted) {
            (true, _) => ImageUser::Built,
            (false, true) => ImageUser::ForeignRestricted,
            (false, false) => ImageUser::Foreign,
        }
    }

    /// Returns the mounted files, secrets filled in.
    pub fn files(&self) -> Result<Vec<FileSpec>, MissingVariable> {
        let file = |(path, content): (&String, &FileContent)| {
            let (content, secret) = match content {
                FileContent::Text(text) => (Secret::new(text.clone()), false),
                FileContent::Secret(key) => {
                    let missing = || MissingVariable { path: path.clone(), key: key.clone() };
                    (self.value(key).ok_or_else(missing)?, true)
                }
            };
            Ok(FileSpec { path: path.clone(), content, secret })
        };
        self.config.files.iter().map(file).collect()
    }

    fn value(&self, key: &str) -> Option<Secret> {
        let key: EnvKey = key.parse().ok()?;
        self.env.get(&key).map(|v| v.value.clone())
    }

    /// Returns all variables of a process: the neighbours', the user's, the platform's; the last wins.
    pub fn variables(&self, process: &ProcessName, port: Option<u16>) -> SecretEnv {
        let own = neighbour_variable(&self.placement.app_name);
        let others = self.neighbours.iter().filter(|(key, _)| **key != own);
        let mut all: BTreeMap<String, Secret> =
            others.map(|(key, url)| (key.clone(), Secret::new(url.clone()))).collect();
        all.extend(self.env.iter().map(|(key, value)| (key.to_string(), value.value.clone())));
        let mut set = |key: &str, value: String| all.insert(key.to_owned(), Secret::new(value));
        if let Some(port) = port {
            set("PORT", port.to_string());
            set("HOST", "0.0.0.0".to_owned());
        }
        set("PANDA_APP", self.placement.app_name.to_string());
        set("PANDA_ENVIRONMENT", self.placement.environment_name.to_string());
        set("PANDA_PROCESS", process.to_string());
        set("PANDA_RELEASE", format!("v{}", self.number));
        set("PANDA_URL", self.url.to_owned());
        set("PANDA_GIT_SHA", self.git_sha.unwrap_or_default().to_owned());
        SecretEnv(all)
    }
}

/// Returns an image as the runtime pulls it.
pub fn pull_image(image: &ReleaseImage, pull_url: &str, login: Option<RegistryKey>) -> PullImage {
    let digest: Digest = image.digest.clone();
    if image.own_registry {
        PullImage { repository: format!("{pull_url}/{}", image.repository), digest, login }
    } else {
        PullImage { repository: image.repository.clone(), digest, login: None }
    }
}

/// Returns the key of a placement's environment.
pub fn environment_of(placement: &Placement) -> EnvironmentKey {
    EnvironmentKey { team: placement.team.clone(), environment: placement.environment.clone() }
}

/// Returns the name of the variable that tells an app where another one answers inside their environment.
pub fn neighbour_variable(app: &panda_domain::names::AppName) -> String {
    format!("PANDA_{}_URL", app.as_str().to_ascii_uppercase().replace('-', "_"))
}
