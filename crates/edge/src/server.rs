//! The edge as a whole: binds, loads, starts its threads, and drains at the end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access_log::{AccessLog, AccessLogTarget};
use crate::control::{self, Control, SocketFile};
use crate::handover::{self, Predecessor};
use crate::persist::{Disk, PersistError};
use crate::port_holder;
use crate::ports::{self, Ports};
use crate::protocol::ListenAddresses;
use crate::shared::{Limits, Network, Shared};
use crate::table::Table;
use crate::tls::{self, TlsError};
use crate::worker::{self, Listener};

const BACKLOG: u32 = 4096;

/// What an edge is started with.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Addresses for plain HTTP.
    pub http: Vec<SocketAddr>,
    /// Addresses for HTTPS.
    pub https: Vec<SocketAddr>,
    /// Path of the control socket.
    pub control: PathBuf,
    /// Folder for the last snapshots, private keys included.
    pub state_dir: PathBuf,
    /// Where access lines go.
    pub access_log: AccessLogTarget,
    /// Address for metrics over TCP.
    pub metrics: Option<SocketAddr>,
    /// Number of threads that serve.
    pub workers: usize,
    /// Proxies in front of the edge whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Limits of the process.
    pub limits: Limits,
}

/// Says why the edge didn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process listens there.
    #[error("listen on {address}: port {port} is held by {holder}; stop it, or choose another address with `{flag}`", port = address.port())]
    PortTaken {
        /// The address.
        address: SocketAddr,
        /// Who holds it.
        holder: String,
        /// The flag that moves it.
        flag: &'static str,
    },
    /// The address can't be listened on.
    #[error("listen on {address} (`{flag}`)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that moves it.
        flag: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The control socket can't be made.
    #[error("listen on the control socket `{}` (`--control`)", path.display())]
    Control {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] PersistError),
    /// TLS can't be prepared.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The access log can't be opened.
    #[error("open the access log (`--access-log`)")]
    AccessLog(#[source] io::Error),
    /// A thread can't be started.
    #[error("start a worker")]
    Worker(#[source] io::Error),
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    shared: Arc<Shared>,
    listening: ListenAddresses,
    warnings: Vec<String>,
    workers: Vec<JoinHandle<io::Result<()>>>,
    control: Vec<tokio::task::JoinHandle<()>>,
    log: Option<JoinHandle<()>>,
    sockets_on_disk: [SocketFile; 2],
}

impl Edge {
    /// Loads the last snapshot, then begins to accept.
    #[expect(clippy::unused_async, reason = "it needs a runtime around it, which the signature says")]
    pub async fn start(config: EdgeConfig) -> Result<Self, StartError> {
        let workers = config.workers.max(1);
        let (disk, loaded) = Disk::open(&config.state_dir)?;
        for warning in &loaded.warnings {
            tracing::error!("{warning}");
        }
        let mut listeners: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
        let handover_path = handover::path_beside(&config.control);
        let mut predecessor = handover::inherit(&handover_path);
        let http = bind_all(&config.http, false, "--http", &mut listeners, &mut predecessor)?;
        let https = bind_all(&config.https, true, "--https", &mut listeners, &mut predecessor)?;
        let metrics = config.metrics.map(|address| bind(address, "--metrics", false)).transpose()?;
        let listening = ListenAddresses {
            metrics: metrics.as_ref().and_then(|socket| socket.local_addr().ok()),
            https,
            http,
        };
        let (log, log_thread) = AccessLog::start(&config.access_log).map_err(StartError::AccessLog)?.unzip();
        let (ports, port_ends) = Ports::new(&listening.http, workers);
        let https_port = listening.https.first().map(SocketAddr::port);
        let shared = Arc::new(shared(&config, log, https_port, ports));
        let tls = tls::server_config(&shared.table)?;
        let control = Arc::new(Control::new(Arc::clone(&shared), workers, disk, loaded, listening.clone()));
        shared.follow_ports(&mut predecessor);
        drop(predecessor);
        let socket = control::bind(&config.control)
            .map_err(|source| StartError::Control { path: config.control.clone(), source })?;
        let handover = control::bind(&handover_path)
            .map_err(|source| StartError::Control { path: handover_path.clone(), source })?;
        let to_hand_over: Arc<[_]> = listeners
            .iter()
            .flatten()
            .map(|listener| listener.socket.try_clone())
            .collect::<io::Result<_>>()
            .map_err(StartError::Worker)?;
        let mut threads = Vec::new();
        for (index, (listeners, ports)) in listeners.into_iter().zip(port_ends).enumerate() {
            let (shared, tls) = (Arc::clone(&shared), Arc::clone(&tls));
            let thread = std::thread::Builder::new()
                .name(format!("edge-{index}"))
                .spawn(move || worker::run(index, shared, listeners, ports, tls))
                .map_err(StartError::Worker)?;
            threads.push(thread);
        }
        let mut tasks = vec![
            tokio::spawn(control::serve(Arc::clone(&control), socket)),
            tokio::spawn(handover::serve(handover, to_hand_over, Arc::clone(&shared))),
            tokio::spawn(ports::try_again(Arc::clone(&shared))),
        ];
        if let Some(metrics) = metrics {
            tasks.push(tokio::spawn(control::serve_metrics(Arc::clone(&control), metrics)));
        }
        Ok(Self {
            warnings: control.warnings.clone(),
            shared,
            listening,
            workers: threads,
            control: tasks,
            log: log_thread,
            sockets_on_disk: [SocketFile::new(&config.control), SocketFile::new(&handover_path)],
        })
    }

    /// Returns the addresses it listens on.
    pub fn listening(&self) -> &ListenAddresses {
        &self.listening
    }

    /// Returns the generation that is served.
    pub fn generation(&self) -> u64 {
        self.shared.table.load().generation
    }

    /// Returns what went wrong at start and was worked around, the same as in [`crate::protocol::Status::warnings`].
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Stops accepting, ends what was begun within the drain limit, and returns.
    pub async fn stop(self) {
        let Self { shared, workers, control, log, sockets_on_disk, .. } = self;
        shared.draining.store(true, Relaxed);
        shared.stop.cancel();
        shared.ports.end();
        drop(sockets_on_disk);
        for task in control {
            let _ = task.await;
        }
        let joined = tokio::task::spawn_blocking(move || {
            for worker in workers {
                match worker.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(%error, "a worker failed"),
                    Err(_) => tracing::error!("a worker panicked"),
                }
            }
        });
        let _ = joined.await;
        drop(shared);
        if let Some(log) = log {
            let _ = tokio::task::spawn_blocking(move || log.join()).await;
        }
    }
}

fn shared(config: &EdgeConfig, log: Option<AccessLog>, https_port: Option<u16>, ports: Ports) -> Shared {
    Shared {
        table: Arc::new(ArcSwap::from_pointee(Table::default())),
        ports,
        changed: watch::Sender::new(()),
        limits: config.limits.clone(),
        trusted: config.trusted_proxies.clone(),
        log,
        started: Instant::now(),
        connections: AtomicU64::new(0),
        held: AtomicU32::new(0),
        unrouted: AtomicU64::new(0),
        https_port,
        draining: AtomicBool::new(false),
        stop: CancellationToken::new(),
    }
}

/// Binds each address once per worker, beginning with the sockets of the process that is replaced: each
/// of them has to be accepted from, however many workers there are. Port 0 is settled by the first one.
fn bind_all(
    addresses: &[SocketAddr],
    is_tls: bool,
    flag: &'static str,
    listeners: &mut [Vec<Listener>],
    predecessor: &mut Predecessor,
) -> Result<Vec<SocketAddr>, StartError> {
    let mut bound = Vec::new();
    for address in addresses {
        let mut address = *address;
        let taken = predecessor.take(address);
        if taken.is_empty() && matches!(predecessor, Predecessor::None) {
            // Sockets that share a port split its requests: only a predecessor may be there already.
            drop(bind(address, flag, false)?);
        }
        let ready = taken.len();
        for (number, socket) in taken.into_iter().enumerate() {
            listeners[number % listeners.len()].push(Listener { socket, is_tls });
        }
        for worker in listeners.iter_mut().skip(ready) {
            let fail = |source| StartError::Listen { address, flag, source };
            let socket = bind(address, flag, true)?.into_std().map_err(fail)?;
            address = socket.local_addr().map_err(fail)?;
            worker.push(Listener { socket, is_tls });
        }
        bound.push(address);
    }
    Ok(bound)
}

pub(crate) fn bind(address: SocketAddr, flag: &'static str, share: bool) -> Result<TcpListener, StartError> {
    let bound = (|| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(share)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    })();
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken {
            address,
            holder: port_holder::holder_of(address)
                .unwrap_or_else(|| "a process that only root can see".to_owned()),
            flag,
        },
        _ => StartError::Listen { address, flag, source },
    })
}
