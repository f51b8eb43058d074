//! Images in the platform's registry, part by part: how they leave one server and come to another.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use panda_domain::image::Digest;
use panda_domain::secret::Secret;
use panda_registry_token::{Action, LIFETIME, RegistryKey};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Client, Method, RequestBuilder, Response, StatusCode, Url};

/// How long the registry may take to answer what is small.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a layer may take.
const LAYER: Duration = Duration::from_hours(1);
/// A manifest is a list of parts; what is larger is none.
const MANIFEST_BYTES: u64 = 4 << 20;
pub(crate) const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A list of parts, or of manifests.
    Manifest,
    /// A layer or a configuration.
    Blob,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Manifest => "manifests",
            Self::Blob => "blobs",
        }
    }
}

/// Why a part can't be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no such part.
    #[error("the registry has no such part")]
    NotFound,
    /// What came isn't what its digest says, or no manifest.
    #[error("the registry refuses the part: {0}")]
    Refused(String),
    /// Nobody answers, or with trouble.
    #[error("reach the registry")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The platform's registry, as far as parts of images go in and out. Cheap to clone.
#[derive(Clone)]
pub struct ImageParts {
    base: Url,
    client: Client,
    key: Option<RegistryKey>,
}

impl ImageParts {
    /// Names the registry at this URL, such as `http://127.0.0.1:7050`; nothing is asked yet. `None` if that is no URL.
    pub fn at(url: &str, key: Option<RegistryKey>) -> Option<Self> {
        let client = Client::builder().connect_timeout(ANSWER).no_proxy().build();
        let client = client.expect("a client without special settings can be built");
        Some(Self { base: url.parse().ok()?, client, key })
    }

    /// Tells whether a part is there.
    pub async fn has(&self, repository: &str, part: Part, digest: &Digest) -> Result<bool, ImageError> {
        let request = self.part(Method::HEAD, repository, part, digest).timeout(ANSWER);
        match self.send(request, repository).await {
            Ok(_) => Ok(true),
            Err(ImageError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins to read a part; its body comes as it is read.
    pub async fn read(&self, repository: &str, part: Part, digest: &Digest) -> Result<Response, ImageError> {
        let request = self.part(Method::GET, repository, part, digest).timeout(LAYER);
        let answer = self.send(request, repository).await?;
        if part == Part::Manifest && answer.content_length().is_none_or(|bytes| bytes > MANIFEST_BYTES) {
            return Err(ImageError::Refused("its manifest is too large".to_owned()));
        }
        Ok(answer)
    }

    /// Keeps a manifest; its parts have to be there. Twice is once.
    pub async fn keep_manifest(
        &self,
        repository: &str,
        digest: &Digest,
        kind: &str,
        body: Bytes,
    ) -> Result<(), ImageError> {
        let request = self.part(Method::PUT, repository, Part::Manifest, digest);
        let request = request.header(CONTENT_TYPE, kind).body(body).timeout(ANSWER);
        self.send(request, repository).await.map(drop)
    }

    /// Keeps a layer as it comes; the registry compares its digest. What breaks off leaves nothing. Twice is once.
    pub async fn keep_blob(
        &self,
        repository: &str,
        digest: &Digest,
        bytes: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> Result<(), ImageError> {
        let begin =
            self.client.post(self.url(&format!("/v2/{repository}/blobs/uploads/"))).header(CONTENT_LENGTH, 0);
        let place = self.place(&self.send(begin.timeout(ANSWER), repository).await?)?;
        let body = Body::wrap_stream(bytes);
        let send =
            self.client.patch(place.clone()).header(CONTENT_TYPE, "application/octet-stream").body(body);
        let sent = match self.send(send.timeout(LAYER), repository).await {
            Ok(sent) => sent,
            Err(error) => {
                self.cancel(place, repository).await;
                return Err(error);
            }
        };
        let mut place = self.place(&sent)?;
        place.query_pairs_mut().append_pair("digest", digest.as_str());
        let end = self.client.put(place).header(CONTENT_LENGTH, 0);
        self.send(end.timeout(ANSWER), repository).await.map(drop)
    }

    /// Gives an upload up: what came of it would lie in the registry for a week. If the registry isn't told now, that is how it ends.
    async fn cancel(&self, place: Url, repository: &str) {
        let mut request = self.client.delete(place).timeout(ANSWER);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.delete_token(repository).reveal());
        }
        let _ = request.send().await;
    }

    fn part(&self, method: Method, repository: &str, part: Part, digest: &Digest) -> RequestBuilder {
        let url = self.url(&format!("/v2/{repository}/{}/{digest}", part.word()));
        let request = self.client.request(method, url);
        if part == Part::Manifest { request.header(ACCEPT, MANIFESTS) } else { request }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }

    /// Where an upload goes on: at this registry, whatever host it names.
    fn place(&self, answer: &Response) -> Result<Url, ImageError> {
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let named = location.and_then(|location| self.base.join(location).ok());
        let named =
            named.ok_or_else(|| ImageError::Refused("it names no place for the upload".to_owned()))?;
        let mut place = self.url(named.path());
        place.set_query(named.query());
        Ok(place)
    }

    fn token(&self, repository: &str) -> Option<Secret> {
        self.key.as_ref().map(|key| key.token(&[(repository, &[Action::Pull, Action::Push])], LIFETIME))
    }

    async fn send(&self, request: RequestBuilder, repository: &str) -> Result<Response, ImageError> {
        let request = match self.token(repository) {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        };
        let answer = request.send().await.map_err(|error| ImageError::Unreachable(error.into()))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND => Err(ImageError::NotFound),
            status @ (StatusCode::BAD_REQUEST | StatusCode::RANGE_NOT_SATISFIABLE) => {
                Err(ImageError::Refused(format!("{status}")))
            }
            status => Err(ImageError::Unreachable(format!("it answers {status}").into())),
        }
    }
}
