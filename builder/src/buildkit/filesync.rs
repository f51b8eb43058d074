//! Streams local directories to the daemon by its DiffCopy protocol: a list first, contents as asked.

mod listing;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSync;
use futures_util::Stream;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use listing::{Listed, Selection};

/// One packet of file contents; with the channel's length it bounds the memory of a context.
const CHUNK_BYTES: usize = 32 * 1024;
const PACKETS_IN_FLIGHT: usize = 64;

/// Counts what the daemon asked for; shared by all transfers of one build.
#[derive(Debug, Default)]
pub struct SentFiles {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl SentFiles {
    /// Returns how many files were sent.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of contents were sent.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The directories that the daemon may read, by the name it knows them under.
#[derive(Clone)]
pub(super) struct LocalFiles {
    pub(super) directories: Arc<HashMap<String, PathBuf>>,
    pub(super) sent: Arc<SentFiles>,
}

/// The answer to one transfer; dropping it stops the tasks that feed it.
pub(super) struct Outgoing {
    packets: ReceiverStream<Result<Packet, Status>>,
    _feeder: AbortOnDropHandle<()>,
}

impl Stream for Outgoing {
    type Item = Result<Packet, Status>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.packets).poll_next(context)
    }
}

#[tonic::async_trait]
impl FileSync for LocalFiles {
    type DiffCopyStream = Outgoing;
    type TarStreamStream = Outgoing;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Outgoing>, Status> {
        let selection = Selection::from_metadata(request.metadata())?;
        let root = self
            .directories
            .get(&selection.directory)
            .ok_or_else(|| Status::not_found(format!("no access to directory `{}`", selection.directory)))?
            .clone();
        let (sender, receiver) = mpsc::channel(PACKETS_IN_FLIGHT);
        let sent = self.sent.clone();
        let feeder = tokio::spawn(async move {
            if let Err(status) = send(root, selection, request.into_inner(), &sender, &sent).await {
                // The receiver is gone when the build was canceled; then nobody wants to know.
                let _ = sender.send(Err(status)).await;
            }
        });
        let packets = ReceiverStream::new(receiver);
        Ok(Response::new(Outgoing { packets, _feeder: AbortOnDropHandle::new(feeder) }))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Outgoing>, Status> {
        Err(Status::unimplemented("only DiffCopy is served"))
    }
}

type Sender = mpsc::Sender<Result<Packet, Status>>;

async fn send(
    root: PathBuf,
    selection: Selection,
    requests: Streaming<Packet>,
    sender: &Sender,
    sent: &SentFiles,
) -> Result<(), Status> {
    let listed = tokio::task::spawn_blocking(move || listing::list(&root, &selection))
        .await
        .map_err(|_| Status::internal("the listing of the source stopped"))??;
    let (stats, paths): (Vec<Stat>, Vec<PathBuf>) =
        listed.into_iter().map(|Listed { stat, path }| (stat, path)).unzip();
    // The daemon asks for files while it still reads the list: neither may wait for the other.
    tokio::try_join!(announce(stats, sender), answer(&paths, requests, sender, sent))?;
    Ok(())
}

async fn announce(stats: Vec<Stat>, sender: &Sender) -> Result<(), Status> {
    for stat in stats {
        put(sender, packet(PacketType::PacketStat, 0, Some(stat), Vec::new())).await?;
    }
    put(sender, packet(PacketType::PacketStat, 0, None, Vec::new())).await
}

async fn answer(
    paths: &[PathBuf],
    mut requests: Streaming<Packet>,
    sender: &Sender,
    sent: &SentFiles,
) -> Result<(), Status> {
    while let Some(request) = requests.message().await? {
        match request.r#type() {
            PacketType::PacketReq => {
                let path = paths
                    .get(request.id as usize)
                    .ok_or_else(|| Status::invalid_argument(format!("no file has number {}", request.id)))?;
                send_file(path, request.id, sender, sent).await?;
            }
            PacketType::PacketFin => {
                return put(sender, packet(PacketType::PacketFin, 0, None, Vec::new())).await;
            }
            PacketType::PacketErr => {
                return Err(Status::aborted(String::from_utf8_lossy(&request.data).into_owned()));
            }
            PacketType::PacketStat | PacketType::PacketData => {}
        }
    }
    Ok(())
}

async fn send_file(path: &Path, id: u32, sender: &Sender, sent: &SentFiles) -> Result<(), Status> {
    let failed = |error: std::io::Error| Status::internal(format!("read `{}`: {error}", path.display()));
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let length = file.read_buf(&mut chunk).await.map_err(failed)?;
        sent.bytes.fetch_add(length as u64, Ordering::Relaxed);
        put(sender, packet(PacketType::PacketData, id, None, chunk)).await?;
        if length == 0 {
            sent.files.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
    }
}

async fn put(sender: &Sender, packet: Packet) -> Result<(), Status> {
    sender.send(Ok(packet)).await.map_err(|_| Status::cancelled("the daemon no longer listens"))
}

fn packet(kind: PacketType, id: u32, stat: Option<Stat>, data: Vec<u8>) -> Packet {
    Packet { r#type: kind.into(), id, stat, data }
}
