//! A session: a small gRPC server for the daemon, carried inside one stream that we open to it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use futures_util::{Stream, StreamExt};
use panda_domain::secret::Secret;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::auth::{Logins, MemoryAuth};
use super::filesync::LocalFiles;
use super::secrets::MemorySecrets;
use super::{BuildkitError, Buildkitd};

/// How long the daemon may take to accept a session: one whose steps use up its memory is slow, not gone.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// What the daemon may call back; a step sees nothing that isn't named here.
const METHODS: [&str; 6] = [
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
];

/// What a session serves.
pub(super) struct Offer {
    pub(super) id: String,
    /// Names the daemon's last copy of our files, so that only changed ones are asked for.
    pub(super) shared_key: String,
    pub(super) files: LocalFiles,
    pub(super) secrets: Arc<HashMap<String, Secret>>,
    pub(super) auth: Arc<Logins>,
}

/// Opens a session; it ends when the returned guard is dropped.
pub(super) async fn open(daemon: &Buildkitd, offer: Offer) -> Result<AbortOnDropHandle<()>, BuildkitError> {
    let action = "open a session";
    let (server_side, our_side) = tokio::io::duplex(256 * 1024);
    let (outgoing, mut incoming) = tokio::io::split(our_side);
    let upstream = ReaderStream::with_capacity(outgoing, 64 * 1024)
        .filter_map(|chunk| async { chunk.ok().map(|bytes| BytesMessage { data: bytes.to_vec() }) });
    let mut request = Request::new(upstream);
    announce(&mut request, &offer)
        .map_err(|status| BuildkitError::Call { action, source: Box::new(status) })?;
    let mut client = daemon.client();
    let mut downstream = tokio::time::timeout(OPEN_TIMEOUT, client.session(request))
        .await
        .map_err(|_| BuildkitError::Silent { action, seconds: OPEN_TIMEOUT.as_secs() })?
        .map_err(|status| BuildkitError::Call { action, source: Box::new(status) })?
        .into_inner();
    let serving = async move {
        let pump = async {
            while let Some(Ok(message)) = downstream.next().await {
                if incoming.write_all(&message.data).await.is_err() {
                    break;
                }
            }
        };
        let connection = tokio_stream::once(Ok::<_, std::io::Error>(server_side));
        let serve = tonic::transport::Server::builder()
            .add_service(HealthServer::new(Alive))
            .add_service(FileSyncServer::new(offer.files))
            .add_service(SecretsServer::new(MemorySecrets(offer.secrets)))
            .add_service(AuthServer::new(MemoryAuth(offer.auth)))
            .serve_with_incoming(connection.chain(futures_util::stream::pending()));
        tokio::select! { () = pump => {}, _ = serve => {} }
    };
    Ok(AbortOnDropHandle::new(tokio::spawn(serving)))
}

fn announce<T>(request: &mut Request<T>, offer: &Offer) -> Result<(), Status> {
    let value = |text: &str| {
        MetadataValue::try_from(text).map_err(|_| Status::invalid_argument("session names have to be ASCII"))
    };
    let metadata = request.metadata_mut();
    metadata.insert("x-docker-expose-session-uuid", value(&offer.id)?);
    metadata.insert("x-docker-expose-session-name", value("panda")?);
    metadata.insert("x-docker-expose-session-sharedkey", value(&offer.shared_key)?);
    for method in METHODS {
        metadata.append("x-docker-expose-session-grpc-method", value(method)?);
    }
    Ok(())
}

/// The daemon asks every few seconds whether we are still there.
struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        const SERVING: i32 = 1;
        Ok(Response::new(HealthCheckResponse { status: SERVING }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("only check is served"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only check is served"))
    }
}
