//! Talks to a running edge over its control socket.
//!
//! Each call opens its own connection, so that it reaches the newest process during an upgrade, and
//! has a deadline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::protocol::{Applied, Outline, Patch, Problem, Snapshot, Status, Usage};

const ANSWER_LIMIT_BYTES: usize = 256 << 20;

/// Says what a call tried and how it ended.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there: the edge isn't running, or the path is wrong.
    #[error("connect to the edge at `{}`", path.display())]
    Connect {
        /// Path of the control socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The deadline passed; whether the change took effect is unknown, [`EdgeClient::generation`] tells.
    #[error("wait for the edge to answer {operation} within {} ms", deadline.as_millis())]
    Timeout {
        /// Method and path of the call.
        operation: String,
        /// The deadline.
        deadline: Duration,
    },
    /// The connection broke; whether the change took effect is unknown.
    #[error("talk to the edge ({operation})")]
    Broken {
        /// Method and path of the call.
        operation: String,
        /// What broke.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The edge serves a newer generation than the one that was sent.
    #[error("the edge is at generation {current}, newer than what was sent")]
    StaleGeneration {
        /// Generation that the edge serves.
        current: u64,
    },
    /// The patch starts from another generation than the edge's; a full snapshot is needed.
    #[error("the edge is at generation {current}, which the patch doesn't start from")]
    GenerationGap {
        /// Generation that the edge serves.
        current: u64,
    },
    /// The edge refused the change; sending it again doesn't help.
    #[error("the edge refused the change: {}", .0.detail)]
    Refused(Problem),
    /// The change is in effect but could not be written to disk; sending it again may help.
    #[error("the edge could not keep the change on disk: {}", .0.detail)]
    NotPersisted(Problem),
}

impl ClientError {
    /// Returns whether the same call may succeed later without a change.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::StaleGeneration { .. } | Self::GenerationGap { .. } | Self::Refused(_))
    }
}

/// A handle on a running edge; cheap to clone.
#[derive(Clone, Debug)]
pub struct EdgeClient {
    socket: PathBuf,
    deadline: Duration,
}

impl EdgeClient {
    /// Returns a client of the edge whose control socket is at `socket`, with a deadline of 10 s a call.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), deadline: Duration::from_secs(10) }
    }

    /// Changes the deadline of every call.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Returns the path of the control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes the edge serve `snapshot`; returns once it is in effect and on disk. Repeating it changes nothing.
    pub async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<Applied, ClientError> {
        self.call(Method::PUT, "/v1/snapshot", Some(snapshot)).await
    }

    /// Makes the edge serve what `patch` leads to; returns once it is in effect and on disk.
    pub async fn patch(&self, patch: &Patch) -> Result<Applied, ClientError> {
        self.call(Method::PATCH, "/v1/snapshot", Some(patch)).await
    }

    /// Makes the edge serve `next`, sending only what changed since `previous` if the edge is still there.
    pub async fn advance(&self, previous: Option<&Outline>, next: &Snapshot) -> Result<Applied, ClientError> {
        if let Some(previous) = previous {
            match self.patch(&Patch::between(previous, next)).await {
                Err(ClientError::GenerationGap { .. }) => {}
                outcome => return outcome,
            }
        }
        self.put_snapshot(next).await
    }

    /// Returns the generation that the edge serves; 0 before its first snapshot.
    pub async fn generation(&self) -> Result<u64, ClientError> {
        let applied: Applied = self.call(Method::GET, "/v1/snapshot", None::<&()>).await?;
        Ok(applied.generation)
    }

    /// Returns what the edge is doing.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.call(Method::GET, "/v1/status", None::<&()>).await
    }

    /// Returns the counters of every app.
    pub async fn usage(&self) -> Result<Usage, ClientError> {
        self.call(Method::GET, "/v1/usage", None::<&()>).await
    }

    /// Returns the metrics in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let (_, body) = self.exchange(Method::GET, "/metrics", Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn call<Answer: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, ClientError> {
        let operation = format!("{method} {path}");
        let broken = |source: serde_json::Error| ClientError::Broken {
            operation: operation.clone(),
            source: Box::new(source),
        };
        let body = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body).map_err(broken)?),
            None => Bytes::new(),
        };
        let (status, body) = self.exchange(method, path, body).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(broken);
        }
        let problem: Problem = serde_json::from_slice(&body).map_err(broken)?;
        Err(match problem.code.as_str() {
            "stale-generation" => ClientError::StaleGeneration { current: problem.generation },
            "generation-gap" => ClientError::GenerationGap { current: problem.generation },
            "not-persisted" => ClientError::NotPersisted(problem),
            _ => ClientError::Refused(problem),
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let operation = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "edge")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .expect("method, path and headers are valid by construction");
        match tokio::time::timeout(self.deadline, self.exchange_now(&operation, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ClientError::Timeout { operation, deadline: self.deadline }),
        }
    }

    async fn exchange_now(
        &self,
        operation: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Broken {
            operation: operation.to_owned(),
            source,
        };
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::Connect { path: self.socket.clone(), source })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT_BYTES).collect().await;
            Ok((status, body.map_err(broken)?.to_bytes()))
        };
        // The connection is driven here instead of in a task of its own, so that dropping the call drops it.
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            outcome = &mut answer => outcome,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(broken(error.into())),
            },
        }
    }
}
