//! Images: pulled by digest, off the path of calls that must not wait.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::ImageInspect;
use bollard::query_parameters::{CreateImageOptions, ListImagesOptions};
use futures_util::TryStreamExt;
use panda_deployer::runtime::{PullImage, ResolvedImage, RuntimeError, RuntimeResult};
use panda_domain::ids::PlacementId;
use panda_domain::image::Digest;
use panda_domain::secret::Secret;
use tokio::sync::Notify;

use crate::engine::{Engine, absent, translate};
use crate::pulled;
use crate::runtime::Driver;

/// Pulls that run now, and errors of those that failed and weren't told yet.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pulls(Arc<Mutex<Pending>>, Arc<Notify>);

#[derive(Debug, Default)]
struct Pending {
    running: HashSet<String>,
    failed: HashMap<String, RuntimeError>,
}

/// What a call that needs an image has to do.
#[derive(Debug)]
pub(crate) enum Pull {
    /// Start pulling.
    Start,
    /// Somebody pulls it already.
    Running,
    /// The last pull failed; told once, then it may be tried again.
    Failed(RuntimeError),
}

impl Pulls {
    /// Claims the pull of an image.
    pub(crate) fn claim(&self, reference: &str) -> Pull {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = pending.failed.remove(reference) {
            return Pull::Failed(error);
        }
        if pending.running.insert(reference.to_owned()) { Pull::Start } else { Pull::Running }
    }

    /// Ends a claimed pull.
    pub(crate) fn finish(&self, reference: &str, outcome: RuntimeResult<()>) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.running.remove(reference);
        if let Err(error) = outcome {
            pending.failed.insert(reference.to_owned(), error);
        }
        drop(pending);
        self.1.notify_waiters();
    }
}

/// Pulls a claimed image on its own: who waits for it may leave, and what is half pulled isn't lost.
pub(crate) fn pull_behind(driver: &Driver, image: PullImage, placement: Option<PlacementId>) {
    let driver = driver.clone();
    driver.tasks.clone().spawn(async move {
        let pulled = tokio::select! {
            () = driver.cancel.cancelled() => Ok(()),
            pulled = ensure(&driver, &image) => pulled,
        };
        driver.pulls.finish(&image.reference(), pulled);
        driver.instances.hint(placement);
    });
}

/// Waits until the engine has the image, pulling it if it must. Dropping the call stops no pull.
pub(crate) async fn ensure_shared(driver: &Driver, image: &PullImage) -> RuntimeResult<()> {
    let reference = image.reference();
    loop {
        let finished = driver.pulls.1.notified();
        tokio::pin!(finished);
        finished.as_mut().enable();
        if inspect(&driver.engine, &reference).await?.is_some() {
            return pulled::used(&driver.pulled, &reference, driver.clock.now_ms()).await;
        }
        match driver.pulls.claim(&reference) {
            Pull::Failed(error) => return Err(error),
            Pull::Start => pull_behind(driver, image.clone(), None),
            Pull::Running => {}
        }
        finished.await;
    }
}

/// Returns the image's `USER`, `None` when the engine doesn't have the image.
pub(crate) async fn user(engine: &Engine, reference: &str) -> RuntimeResult<Option<String>> {
    let image = inspect(engine, reference).await?;
    Ok(image.map(|image| image.config.and_then(|config| config.user).unwrap_or_default()))
}

/// Pulls the image unless the engine has it.
pub(crate) async fn ensure(driver: &Driver, image: &PullImage) -> RuntimeResult<()> {
    let (engine, now_ms) = (&driver.engine, driver.clock.now_ms());
    let reference = image.reference();
    if inspect(engine, &reference).await?.is_some() {
        return pulled::used(&driver.pulled, &reference, now_ms).await;
    }
    pull(engine, driver.pull_timeout, &reference, token(image, driver.pull_timeout)).await?;
    pulled::note(&driver.pulled, vec![reference], image.digest.clone(), now_ms).await
}

/// Makes a token for an image in the platform's own registry: it reads this repository, for as long as the pull may take.
fn token(image: &PullImage, limit: Duration) -> Option<DockerCredentials> {
    let key = image.login.as_ref()?;
    let (host, path) = image.host_and_path();
    Some(DockerCredentials {
        registrytoken: Some(key.pull_token(path, limit).reveal().to_owned()),
        // Engines that keep images in containerd send a token to this host only.
        serveraddress: Some(host.to_owned()),
        ..DockerCredentials::default()
    })
}

/// Asks what a reference means now.
pub(crate) async fn resolve(
    driver: &Driver,
    reference: &str,
    login: Option<(&str, &Secret)>,
) -> RuntimeResult<ResolvedImage> {
    let engine = &driver.engine;
    let before = names(engine).await?;
    // Pulling is the only way to learn ports and user from the engine, and what is resolved is about to be run.
    let credentials = login.map(|(user, secret)| DockerCredentials {
        username: Some(user.to_owned()),
        password: Some(secret.reveal().to_owned()),
        ..DockerCredentials::default()
    });
    pull(engine, driver.pull_timeout, reference, credentials).await?;
    let image = inspect(engine, reference)
        .await?
        .ok_or_else(|| RuntimeError::NotFound { what: format!("image `{reference}`") })?;
    let repository = repository(reference);
    let mut digests = image.repo_digests.iter().flatten();
    let digest = digests.find_map(|d| {
        let (name, digest) = d.split_once('@')?;
        names_match(name, repository).then(|| digest.parse().ok())?
    });
    let digest: Digest = digest.ok_or_else(|| RuntimeError::Rejected {
        doing: format!("resolve image `{reference}`"),
        reason: "the engine knows no digest of it".to_owned(),
    })?;
    let is_ours = |name: &str| driver.pulled.look(|pulled| pulled.has(name));
    let names = brought(&image, repository, |name| !before.contains(name) || is_ours(name));
    pulled::note(&driver.pulled, names, digest.clone(), driver.clock.now_ms()).await?;
    let config = image.config.unwrap_or_default();
    let exposed = ResolvedImage::tcp_ports(config.exposed_ports.iter().flatten());
    Ok(ResolvedImage { digest, exposed, user: config.user.unwrap_or_default() })
}

/// Returns every name that the engine has for an image.
async fn names(engine: &Engine) -> RuntimeResult<HashSet<String>> {
    let options = ListImagesOptions::default();
    let images = engine.call("list images", engine.docker.list_images(Some(options))).await?;
    Ok(images.into_iter().flat_map(|image| image.repo_tags.into_iter().chain(image.repo_digests)).collect())
}

/// Returns an image's names in the repository that it was pulled from, as far as they are new.
fn brought(image: &ImageInspect, from: &str, is_new: impl Fn(&str) -> bool) -> Vec<String> {
    let names = image.repo_tags.iter().chain(&image.repo_digests).flatten();
    names.filter(|name| names_match(repository(name), from) && is_new(name)).cloned().collect()
}

/// Returns what the engine knows about an image, `None` when it doesn't have it.
pub(crate) async fn inspect(engine: &Engine, reference: &str) -> RuntimeResult<Option<ImageInspect>> {
    let doing = format!("look for image `{reference}`");
    absent(engine.call(doing, engine.docker.inspect_image(reference)).await)
}

/// Pulls an image.
pub(crate) async fn pull(
    engine: &Engine,
    limit: Duration,
    reference: &str,
    credentials: Option<DockerCredentials>,
) -> RuntimeResult<()> {
    let doing = format!("pull image `{reference}`");
    let tagged = reference.contains('@') || reference.rsplit('/').next().is_some_and(|l| l.contains(':'));
    let options = CreateImageOptions {
        from_image: Some(reference.to_owned()),
        // Without a tag the engine would fetch all of them.
        tag: (!tagged).then(|| "latest".to_owned()),
        ..CreateImageOptions::default()
    };
    let stream = engine.docker.create_image(Some(options), None, credentials);
    let pulled = tokio::time::timeout(limit, stream.try_for_each(|_| async { Ok(()) })).await;
    match pulled {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(explain(doing, translate(String::new(), error))),
        Err(_) => Err(RuntimeError::Unavailable {
            doing,
            source: Some(format!("not done within {} s", limit.as_secs()).into()),
        }),
    }
}

/// Says in words for people why a pull failed, and whether it may work later.
fn explain(doing: String, error: RuntimeError) -> RuntimeError {
    let message = match error {
        RuntimeError::Rejected { reason, .. } => reason,
        RuntimeError::NotFound { what } | RuntimeError::Conflict { what } => what,
        // The engine itself is away: nothing was said about the image.
        RuntimeError::Unavailable { source, .. } => return RuntimeError::Unavailable { doing, source },
        other => return other,
    };
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let reason = if has(&["no matching manifest", "no match for platform"]) {
        "the registry has it, but not for this machine's processor"
    } else if has(&["unauthorized", "denied", "no basic auth", "authentication required"]) {
        "the registry refuses access, or the image doesn't exist there"
    } else if has(&["manifest unknown", "not found", "name unknown", "repository does not exist"]) {
        "the image isn't in the registry"
    } else if has(&["no space left"]) {
        "the disk is full"
    } else if has(&["x509", "certificate"]) {
        "the registry's certificate isn't trusted on this machine"
    } else if has(&[
        "connection refused",
        "no such host",
        "timeout",
        "deadline",
        "EOF",
        "unreachable",
        "reset",
    ]) {
        return RuntimeError::Unavailable { doing, source: Some(message.into()) };
    } else {
        return RuntimeError::Rejected { doing, reason: message };
    };
    RuntimeError::Rejected { doing, reason: format!("{reason} ({message})") }
}

fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The engine leaves out `docker.io/library/` where people may write it.
fn names_match(known: &str, asked: &str) -> bool {
    let plain = |name: &str| {
        let name = name.trim_start_matches("docker.io/");
        name.trim_start_matches("library/").to_owned()
    };
    plain(known) == plain(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_pull_says_why_and_whether_to_try_again() {
        let explained = |message: &str| {
            explain("pull".into(), RuntimeError::Rejected { doing: String::new(), reason: message.into() })
        };
        assert!(explained("dial tcp 127.0.0.1:5: connect: connection refused").is_transient());
        let gone = explained("manifest for x@sha256:0 not found: manifest unknown: manifest unknown");
        assert!(gone.to_string().contains("isn't in the registry") && !gone.is_transient());
    }

    #[test]
    fn only_new_names_in_the_repository_that_was_pulled_from_are_ours() {
        let texts = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect());
        let image = ImageInspect {
            repo_tags: texts(&["node:22", "node:lts", "mine:1"]),
            repo_digests: texts(&["node@sha256:1", "mirror.example/node@sha256:1"]),
            ..ImageInspect::default()
        };
        let all = brought(&image, "docker.io/library/node", |_| true);
        assert_eq!(all, ["node:22", "node:lts", "node@sha256:1"]);
        let known = ["node:lts", "node@sha256:1"];
        assert_eq!(brought(&image, "node", |name| !known.contains(&name)), ["node:22"]);
    }

    #[test]
    fn the_repository_of_a_reference_keeps_a_registrys_port() {
        assert_eq!(repository("127.0.0.1:5000/a/b:v1"), "127.0.0.1:5000/a/b");
        assert_eq!(repository("127.0.0.1:5000/a/b"), "127.0.0.1:5000/a/b");
        assert!(names_match("node", repository("docker.io/library/node:22")));
    }
}
