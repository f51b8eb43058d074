//! Why something isn't done yet, for people who wait: what is tried, on which host, since when.

use jiff::Timestamp;
use panda_domain::ids::DeploymentId;
use panda_store::{StoreError, Tx};
use serde_json::json;

use crate::runtime::RuntimeError;

/// How much of a digest people need to tell two apart: `sha256:` and twelve digits.
const DIGEST_SHOWN: usize = 19;

/// A step of a deployment, as people watch it.
pub(crate) struct Step<'a> {
    pub(crate) key: &'a str,
    pub(crate) title: &'a str,
    pub(crate) state: &'a str,
    pub(crate) detail: &'a str,
}

impl Step<'_> {
    /// Appends the step, begun at `since`.
    pub(crate) async fn write(
        &self,
        tx: &mut Tx,
        deployment: &DeploymentId,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let elapsed_ms = (tx.clock().now_ms() - since.as_millisecond()).max(0);
        let body = json!({
            "key": self.key, "title": self.title, "state": self.state, "elapsed_ms": elapsed_ms, "detail": self.detail
        });
        tx.add_progress(deployment, "step", &body).await?;
        tx.wake();
        Ok(())
    }
}

/// What a deployment waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    /// In words.
    pub(crate) reason: String,
    /// Whether it is for its image.
    pub(crate) for_image: bool,
}

impl Wait {
    /// Waits because a call has to be made again: the pull of the image, or something else.
    pub(crate) fn after(error: &RuntimeError, image: &str, since: Timestamp) -> Self {
        match error {
            RuntimeError::Unavailable { doing, .. } if !doing.starts_with("pull") => {
                let reason = format!("{doing}: {}; tried since {}", why(error), clock_time(since));
                Self { reason, for_image: false }
            }
            error => Self::for_image(not_had(image, error, since)),
        }
    }

    /// Waits for the image.
    pub(crate) fn for_image(reason: String) -> Self {
        Self { reason, for_image: true }
    }
}

/// Says that a registry was asked and hasn't answered yet.
pub(crate) fn asked(image: &str, since: Timestamp) -> String {
    format!("asking `{}` for `{}` since {}", host_of(image), short(image), clock_time(since))
}

/// Says that no instance is there yet, and where its image comes from.
pub(crate) fn no_instance_yet(image: &str, since: Timestamp) -> String {
    format!("no instance yet since {}; its image comes from `{}`", clock_time(since), host_of(image))
}

/// Says why an image isn't here yet; it is tried again.
pub(crate) fn not_had(image: &str, error: &RuntimeError, since: Timestamp) -> String {
    let (host, image) = (host_of(image), short(image));
    format!("`{image}` can't be had from `{host}` yet: {}; tried since {}", why(error), clock_time(since))
}

/// The deepest that is known about why a call has to be made again.
pub(crate) fn why(error: &RuntimeError) -> String {
    let RuntimeError::Unavailable { source, .. } = error else { return error.to_string() };
    let Some(source) = source else { return "no answer in time".to_owned() };
    let mut text = source.to_string();
    let mut next = source.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The registry that an image comes from; a name without a host is Docker Hub's.
fn host_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

fn short(image: &str) -> &str {
    let digest_at = image.find('@').map(|at| at + 1);
    digest_at.and_then(|at| image.get(..at + DIGEST_SHOWN)).unwrap_or(image)
}

fn clock_time(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_what_is_tried_where_and_since_when() {
        let since: Timestamp = "2030-01-01T10:20:30Z".parse().unwrap();
        let image = format!("registry.example:5000/acme/shop@sha256:{}", "ab".repeat(32));
        assert_eq!(
            asked(&image, since),
            "asking `registry.example:5000` for `registry.example:5000/acme/shop@sha256:abababababab` since 10:20:30 UTC"
        );
        let refused = RuntimeError::Unavailable {
            doing: "pull".to_owned(),
            source: Some("dial tcp: connection refused".into()),
        };
        assert_eq!(
            not_had("shop:1", &refused, since),
            "`shop:1` can't be had from `docker.io` yet: dial tcp: connection refused; tried since 10:20:30 UTC"
        );
        let away = RuntimeError::Unavailable { doing: "list containers".to_owned(), source: None };
        let reason = "list containers: no answer in time; tried since 10:20:30 UTC".to_owned();
        assert_eq!(Wait::after(&away, "shop:1", since), Wait { reason, for_image: false });
        assert!(Wait::after(&refused, "shop:1", since).for_image);
    }
}
