//! The connection to the engine: deadlines, and its errors in the words of the seam.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::SystemInfo;
use bollard::{API_DEFAULT_VERSION, Docker};
use panda_deployer::runtime::{RuntimeError, RuntimeResult};

/// A connected engine.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// The client; streams are taken from it directly.
    pub(crate) docker: Docker,
    timeout: Duration,
    /// Whether the engine has an init process to give.
    pub(crate) has_init: bool,
}

impl Engine {
    /// Connects and settles on an API version that both sides speak.
    pub(crate) async fn connect(socket: &Path, timeout: Duration) -> RuntimeResult<Self> {
        let doing = format!("connect to the Docker engine at `{}`", socket.display());
        let path = socket.to_string_lossy();
        // bollard's own timeout also covers long answers such as a pull's; ours is given call by call.
        let docker = Docker::connect_with_unix(&path, 7200, API_DEFAULT_VERSION)
            .map_err(|error| translate(doing.clone(), error))?;
        let negotiated = tokio::time::timeout(timeout, docker.negotiate_version()).await;
        let docker = negotiated
            .map_err(|_| RuntimeError::Unavailable { doing: doing.clone(), source: None })?
            .map_err(|error| translate(doing, error))?;
        let mut engine = Self { docker, timeout, has_init: false };
        engine.has_init = engine.info().await?.init_commit.and_then(|c| c.id).is_none_or(|id| id != "N/A");
        Ok(engine)
    }

    /// Waits for one call, at most as long as calls may take.
    pub(crate) async fn call<T>(
        &self,
        doing: impl Into<String>,
        call: impl Future<Output = Result<T, Error>>,
    ) -> RuntimeResult<T> {
        self.call_within(self.timeout, doing, call).await
    }

    /// Waits for one call, at most `limit`.
    pub(crate) async fn call_within<T>(
        &self,
        limit: Duration,
        doing: impl Into<String>,
        call: impl Future<Output = Result<T, Error>>,
    ) -> RuntimeResult<T> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(translate(doing.into(), error)),
            Err(_) => Err(RuntimeError::Unavailable { doing: doing.into(), source: None }),
        }
    }

    /// Returns what the engine tells about itself.
    pub(crate) async fn info(&self) -> RuntimeResult<SystemInfo> {
        self.call("ask the Docker engine about itself", self.docker.info()).await
    }
}

/// Puts an error of the engine into the words of the seam.
pub(crate) fn translate(doing: String, error: Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            by_status(doing, status_code, message.trim().to_owned())
        }
        Error::DockerStreamError { error } => RuntimeError::Rejected { doing, reason: error },
        Error::IOError { .. }
        | Error::HyperResponseError { .. }
        | Error::HyperLegacyError { .. }
        | Error::RequestTimeoutError
        | Error::SocketNotFoundError(_) => RuntimeError::Unavailable { doing, source: Some(Box::new(error)) },
        other => RuntimeError::Internal { doing, source: Box::new(other) },
    }
}

fn by_status(doing: String, status: u16, message: String) -> RuntimeError {
    match status {
        404 => RuntimeError::NotFound { what: message },
        409 => RuntimeError::Conflict { what: message },
        503 => RuntimeError::Unavailable { doing, source: Some(message.into()) },
        // The engine answers 500 both for refusals of the runtime and for its own troubles; only those that are
        // known to pass are worth another try.
        500 if passes(&message) => RuntimeError::Unavailable { doing, source: Some(message.into()) },
        _ => RuntimeError::Rejected { doing, reason: message },
    }
}

fn passes(message: &str) -> bool {
    ["context canceled", "context deadline exceeded", "connection refused", "transport is closing", "EOF"]
        .iter()
        .any(|words| message.contains(words))
}

/// Turns "isn't there" into `None`.
pub(crate) fn absent<T>(outcome: RuntimeResult<T>) -> RuntimeResult<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(RuntimeError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
