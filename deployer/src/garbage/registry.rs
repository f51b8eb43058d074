//! The platform's registry, as far as images are deleted from it.

use std::time::Duration;

use panda_domain::secret::Secret;
use panda_registry_token::RegistryKey;
use panda_store::DoomedImage;
use reqwest::{Client, Method, Response, StatusCode};

/// How long the registry may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The registry didn't answer as it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistryError {
    /// Nobody answers.
    #[error("reach the registry at `{url}`")]
    Unreachable {
        /// Where it was asked.
        url: String,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// It is in trouble itself.
    #[error("the registry answers {status} to `{url}`")]
    Trouble {
        /// Where it was asked.
        url: String,
        /// Its answer.
        status: StatusCode,
    },
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deleted {
    /// It isn't there (any more).
    Gone,
    /// This registry lets nobody delete, or not us.
    Refused(StatusCode),
}

/// A registry that speaks the distribution API.
pub(super) struct ImageRegistry {
    base: String,
    client: Client,
    /// Makes tokens where the registry wants them.
    key: Option<RegistryKey>,
}

impl ImageRegistry {
    /// Names the registry at this URL; nothing is asked yet.
    pub(super) fn new(url: &str, key: Option<RegistryKey>) -> Self {
        let client = Client::builder().timeout(ANSWER).no_proxy().build();
        let client = client.expect("a client without special settings can be built");
        Self { base: url.trim_end_matches('/').to_owned(), client, key }
    }

    /// Makes sure that it answers.
    pub(super) async fn check(&self) -> Result<(), RegistryError> {
        let token = self.key.as_ref().map(RegistryKey::greeting_token);
        self.ask(Method::GET, "/v2/", token).await.map(drop)
    }

    /// Deletes an image's manifest, and the tags that name it. Twice is once.
    pub(super) async fn delete(&self, image: &DoomedImage) -> Result<Deleted, RegistryError> {
        let path = format!("/v2/{}/manifests/{}", image.repository, image.digest);
        let token = self.key.as_ref().map(|key| key.delete_token(&image.repository));
        let answer = self.ask(Method::DELETE, &path, token).await?;
        Ok(match answer.status() {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Deleted::Gone,
            status => Deleted::Refused(status),
        })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<Secret>,
    ) -> Result<Response, RegistryError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.client.request(method, &url);
        if let Some(token) = token {
            request = request.bearer_auth(token.reveal());
        }
        let answer =
            request.send().await.map_err(|source| RegistryError::Unreachable { url: url.clone(), source })?;
        let status = answer.status();
        // A registry that doesn't know our key yet, or has another time: it refuses nothing for good.
        let stranger =
            self.key.is_some() && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || stranger {
            return Err(RegistryError::Trouble { url, status });
        }
        Ok(answer)
    }
}
