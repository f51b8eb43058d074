//! Sending a directory: its listing first, then only the files that the server doesn't have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use indicatif::ProgressBar;
use panda_api_types::{ErrorCode, MissingBlobs, TreeRequest, TreeView};
use panda_domain::source_tree::{ContentHash, SourceManifest};
use panda_source_walk::{WalkOptions, walk};
use reqwest::{Body, Method};
use tokio::sync::mpsc;

use crate::api::{Api, Ask};
use crate::error::{CliError, Result};
use crate::progress::{Progress, counted};

/// What a request carries at most before compression, unless one file is larger.
const BATCH_BYTES: u64 = 32 << 20;
const BATCH_FILES: usize = 2000;
/// How long one batch may take.
const BATCH_TIME: Duration = Duration::from_mins(15);
/// Attempts without any progress before giving up.
const ATTEMPTS: u32 = 5;

/// A directory that was read.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    manifest: SourceManifest,
}

#[derive(Debug, Clone)]
struct Blob {
    path: PathBuf,
    size: u64,
    hash: ContentHash,
}

impl Tree {
    /// Reads a directory, its ignore files respected. A large one takes its time, so it has a thread of its own.
    pub(crate) async fn read(root: &Path, keep: Vec<String>, progress: &mut Progress) -> Result<Self> {
        let (options, path) = (WalkOptions { keep, ..WalkOptions::default() }, root.to_owned());
        let walking = tokio::task::spawn_blocking(move || walk(&path, &options));
        let walked = walking.await.expect("walking doesn't panic").map_err(|error| {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            CliError::new(ErrorCode::InvalidSource, format!("{error}{cause}"))
        })?;
        for path in &walked.skipped {
            progress.note(&format!("left out `{path}`: it is no file, directory or link"));
        }
        if walked.manifest.files().any(|(path, ..)| path == ".env") {
            progress.note(
                "note: `.env` is sent too; if it holds secrets, list it in .pandaignore, and see `panda env import`",
            );
        }
        if walked.manifest.files().next().is_none() {
            let detail = format!("`{}` has no files to deploy", root.display());
            return Err(CliError::new(ErrorCode::InvalidSource, detail)
                .hint("check the path, and what .dockerignore, .gitignore and .pandaignore leave out"));
        }
        Ok(Self { root: root.to_owned(), manifest: walked.manifest })
    }

    /// Makes the server have the directory whole; returns its `sha256:…`. A cut connection is no loss: what
    /// arrived stays, the rest is sent again.
    pub(crate) async fn send(&self, api: &Api, progress: &mut Progress) -> Result<String> {
        let listing = serde_json::to_string(&self.manifest).expect("a listing is plain text");
        let files = counted(self.manifest.files().count(), "file");
        let mut left = u64::MAX;
        let mut attempt = 0;
        loop {
            let view: TreeView = api
                .exchange(
                    Method::PUT,
                    &Ask::at(["uploads", "trees"]),
                    &TreeRequest { listing: listing.clone() },
                )
                .await?;
            let blobs = self.blobs(&view.missing)?;
            let bytes = blobs.iter().map(|blob| blob.size).sum();
            if blobs.is_empty() && view.complete {
                if left == u64::MAX {
                    progress.note(&format!("{files}, nothing new to send"));
                }
                return Ok(view.tree);
            }
            if left == u64::MAX {
                progress.note(&format!("{files}, sending {} new ({})", blobs.len(), size(bytes)));
            }
            attempt = if bytes < left { 0 } else { attempt + 1 };
            left = bytes;
            let bar = progress.transfer(bytes, blobs.len());
            let sent = send_all(api, &blobs, &bar).await;
            bar.finish_and_clear();
            match sent {
                Ok(()) if attempt < ATTEMPTS => {}
                Err(error) if attempt < ATTEMPTS && may_pass(&error) => {
                    progress.note("the connection broke; sending what is still missing");
                    tokio::time::sleep(Duration::from_millis(300 << attempt)).await;
                }
                Ok(()) => {
                    return Err(CliError::new(
                        ErrorCode::Unavailable,
                        "the server keeps asking for files that were sent",
                    ));
                }
                Err(error) => return Err(error.hint("run the command again; what arrived isn't sent twice")),
            }
        }
    }

    fn blobs(&self, missing: &[String]) -> Result<Vec<Blob>> {
        let missing: BTreeSet<&str> = missing.iter().map(String::as_str).collect();
        let mut blobs = BTreeMap::new();
        for (path, size, hash) in self.manifest.files() {
            let name = hash.to_string();
            if missing.contains(name.as_str()) {
                blobs.entry(hash).or_insert_with(|| Blob { path: self.root.join(path), size, hash });
            }
        }
        if blobs.len() < missing.len() {
            return Err(CliError::new(
                ErrorCode::Internal,
                "the server asks for files that aren't in the listing",
            ));
        }
        Ok(blobs.into_values().collect())
    }
}

fn may_pass(error: &CliError) -> bool {
    matches!(error.code(), Some(ErrorCode::Unavailable | ErrorCode::Timeout | ErrorCode::RateLimited))
}

async fn send_all(api: &Api, blobs: &[Blob], bar: &ProgressBar) -> Result<()> {
    let mut rest = blobs;
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest
            .iter()
            .take(BATCH_FILES)
            .take_while(|blob| {
                bytes += blob.size;
                bytes <= BATCH_BYTES
            })
            .count()
            .max(1);
        let (batch, later) = rest.split_at(count);
        send_batch(api, batch.to_vec(), bar.clone()).await?;
        rest = later;
    }
    Ok(())
}

async fn send_batch(api: &Api, batch: Vec<Blob>, bar: ProgressBar) -> Result<()> {
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let writer = tokio::task::spawn_blocking(move || write_frames(&batch, ChannelWriter(sender), &bar));
    let body = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    let request = api
        .request(Method::POST, &Ask::at(["uploads", "blobs"]))
        .header("content-type", "application/vnd.panda.blobs+zstd")
        .timeout(BATCH_TIME)
        .body(Body::wrap_stream(body));
    let answer: Result<MissingBlobs> = api.body(request).await;
    match writer.await.expect("the writer doesn't panic") {
        // A file that changed explains the broken request, not the other way round.
        Err(Cut::Changed(error)) => Err(error),
        Err(Cut::Gone) | Ok(()) => answer.map(drop),
    }
}

/// Why a batch wasn't written to its end.
enum Cut {
    /// A file isn't what the listing says.
    Changed(CliError),
    /// The request is over.
    Gone,
}

/// Writes each file as its hash, its length and its bytes, all in one zstd stream.
fn write_frames(batch: &[Blob], writer: ChannelWriter, bar: &ProgressBar) -> Result<(), Cut> {
    let abort = writer.0.clone();
    let gone = |_: std::io::Error| Cut::Gone;
    let mut encoder = zstd::Encoder::new(writer, 3).map_err(gone)?;
    let mut buffer = vec![0; 128 << 10];
    for blob in batch {
        encoder.write_all(blob.hash.as_bytes()).map_err(gone)?;
        encoder.write_all(&blob.size.to_be_bytes()).map_err(gone)?;
        let outcome = copy_exactly(blob, &mut buffer, |bytes| {
            bar.inc(bytes.len() as u64);
            encoder.write_all(bytes).map_err(gone)
        });
        if let Err(cut) = outcome {
            // Without this the server would take the stream for complete.
            let _ = abort.blocking_send(Err(std::io::Error::other("a file changed while it was sent")));
            return Err(cut);
        }
    }
    encoder.finish().and_then(|mut writer| writer.flush()).map_err(gone)
}

fn copy_exactly(
    blob: &Blob,
    buffer: &mut [u8],
    mut write: impl FnMut(&[u8]) -> Result<(), Cut>,
) -> Result<(), Cut> {
    let changed = |why: &str| {
        let detail = format!("`{}` {why} while it was sent", blob.path.display());
        Cut::Changed(
            CliError::new(ErrorCode::InvalidSource, detail)
                .hint("run the command again when nothing writes to the directory"),
        )
    };
    let mut file = File::open(&blob.path).map_err(|_| changed("went away"))?;
    let mut left = blob.size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match file.read(&mut buffer[..want]) {
            Ok(0) => return Err(changed("became shorter")),
            Ok(length) => {
                write(&buffer[..length])?;
                left -= length as u64;
            }
            Err(_) => return Err(changed("could no longer be read")),
        }
    }
    Ok(())
}

/// Hands written bytes to a request's body, and waits when the network is slower than the disk.
struct ChannelWriter(mpsc::Sender<Result<Bytes, std::io::Error>>);

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns bytes as people say them.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
