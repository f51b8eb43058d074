//! The TCP ports that routes name: listened on while a route names them, each on one worker.
//!
//! A port that can't be had is told in the status and tried again; it never keeps a change from taking effect, because the
//! other routes of that change are other apps'.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::handover::Predecessor;
use crate::protocol::TcpPort;
use crate::server::{StartError, bind};
use crate::shared::Shared;

/// How long until a port that couldn't be had is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// A listening socket on its way to the worker that accepts from it.
pub(crate) struct Listening {
    pub(crate) port: u16,
    pub(crate) socket: TcpListener,
    /// Ends the accepting; what was accepted goes on.
    pub(crate) closed: CancellationToken,
}

/// What is listened on.
pub(crate) struct Ports {
    /// The same as for HTTP, each once.
    addresses: Vec<IpAddr>,
    workers: Vec<mpsc::UnboundedSender<Listening>>,
    open: Mutex<BTreeMap<u16, Open>>,
    ended: AtomicBool,
}

/// What became of one port.
enum Open {
    /// It is listened on. The sockets are kept to hand them to a successor.
    Yes { sockets: Vec<TcpListener>, closed: CancellationToken },
    /// It can't be had, for this reason.
    No(String),
}

impl Ports {
    /// Makes the ports of an edge, and for each of its workers the end that listening sockets come out of.
    pub(crate) fn new(
        http: &[SocketAddr],
        workers: usize,
    ) -> (Self, Vec<mpsc::UnboundedReceiver<Listening>>) {
        let mut addresses: Vec<IpAddr> = http.iter().map(SocketAddr::ip).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let (workers, ends) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        (Self { addresses, workers, open: Mutex::default(), ended: AtomicBool::new(false) }, ends)
    }

    /// Listens on just these ports; twice is once. Sockets of a process that is replaced are taken over.
    pub(crate) fn follow(&self, wanted: &[u16], predecessor: &mut Predecessor) {
        let mut open = self.lock();
        if self.ended.load(Relaxed) {
            return;
        }
        open.retain(|port, known| {
            let stays = wanted.contains(port);
            if let (false, Open::Yes { closed, .. }) = (stays, &*known) {
                closed.cancel();
            }
            stays
        });
        for port in wanted {
            if !matches!(open.get(port), Some(Open::Yes { .. })) {
                open.insert(*port, self.listen(*port, predecessor));
            }
        }
    }

    fn listen(&self, port: u16, predecessor: &mut Predecessor) -> Open {
        let closed = CancellationToken::new();
        let sockets = self.addresses.iter().map(|ip| socket(SocketAddr::new(*ip, port), predecessor));
        let listening =
            sockets.collect::<Result<Vec<_>, StartError>>().map_err(|error| explain(port, &error));
        let sockets = match listening {
            Ok(sockets) => sockets,
            Err(reason) => {
                tracing::warn!("a TCP port isn't listened on: {reason}");
                return Open::No(reason);
            }
        };
        let copies = sockets.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>();
        let copies = match copies {
            Ok(copies) => copies,
            Err(error) => return Open::No(format!("port {port} can't be listened on: {error}")),
        };
        for socket in sockets {
            let worker = &self.workers[usize::from(port) % self.workers.len()];
            // Fails only when the worker has ended, and the edge with it.
            let _ = worker.send(Listening { port, socket, closed: closed.clone() });
        }
        Open::Yes { sockets: copies, closed }
    }

    /// Tells what became of each port.
    pub(crate) fn status(&self) -> Vec<TcpPort> {
        let open = self.lock();
        let told = open.iter().map(|(port, open)| TcpPort {
            port: *port,
            problem: match open {
                Open::Yes { .. } => None,
                Open::No(reason) => Some(reason.clone()),
            },
        });
        told.collect()
    }

    /// Returns the sockets, for a process that takes over.
    pub(crate) fn sockets(&self) -> Vec<TcpListener> {
        let open = self.lock();
        let sockets = open.values().filter_map(|open| match open {
            Open::Yes { sockets, .. } => Some(sockets),
            Open::No(_) => None,
        });
        sockets.flatten().filter_map(|socket| socket.try_clone().ok()).collect()
    }

    /// Stops listening for good.
    pub(crate) fn end(&self) {
        self.ended.store(true, Relaxed);
        self.lock().clear();
    }

    fn has_troubled(&self) -> bool {
        self.lock().values().any(|open| matches!(open, Open::No(_)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries again what couldn't be had, until the process stops.
pub(crate) async fn try_again(shared: std::sync::Arc<Shared>) {
    let stop = shared.stop.clone();
    while stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_some() {
        if shared.ports.has_troubled() {
            shared.follow_ports(&mut Predecessor::None);
        }
    }
}

fn socket(address: SocketAddr, predecessor: &mut Predecessor) -> Result<TcpListener, StartError> {
    if let Some(socket) = predecessor.take(address).pop() {
        return Ok(socket);
    }
    if matches!(predecessor, Predecessor::None) {
        // Sockets that share a port split its connections: only a predecessor may be there already.
        drop(bind(address, "", false)?);
    }
    let socket = bind(address, "", true)?;
    socket.into_std().map_err(|source| StartError::Listen { address, flag: "", source })
}

fn explain(port: u16, error: &StartError) -> String {
    match error {
        StartError::PortTaken { holder, .. } => format!("port {port} is held by {holder}"),
        StartError::Listen { source, .. } => format!("port {port} can't be listened on: {source}"),
        other => other.to_string(),
    }
}
