//! A unix socket in front of another one, that can be cut: the far end's death without killing anything shared.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A forwarding socket; gone with the handle.
#[derive(Debug)]
pub struct Proxy {
    path: PathBuf,
    away: Arc<AtomicBool>,
    cut: Arc<Notify>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens at `path` and forwards to the socket of `address`, `unix:///…`.
    pub fn start(path: &Path, address: &str) -> anyhow::Result<Self> {
        let target = PathBuf::from(address.strip_prefix("unix://").context("the address is no unix socket")?);
        let listener = UnixListener::bind(path)?;
        let (away, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let (is_away, cutting) = (away.clone(), cut.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if is_away.load(Ordering::Relaxed) {
                    continue;
                }
                let (target, cutting) = (target.clone(), cutting.clone());
                tokio::spawn(async move {
                    let Ok(mut far) = UnixStream::connect(target).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = cutting.notified() => {}
                    }
                });
            }
        });
        Ok(Self { path: path.to_owned(), away, cut, accepting })
    }

    /// Returns its address.
    pub fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Cuts all connections; new ones end at once until [`Proxy::restore`].
    pub fn cut(&self) {
        self.away.store(true, Ordering::Relaxed);
        self.cut.notify_waiters();
    }

    /// Forwards again.
    pub fn restore(&self) {
        self.away.store(false, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
