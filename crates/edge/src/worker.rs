//! One thread with its own runtime, listeners and pools: a request never leaves the thread it came to.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client_io::{ClientIo, Command, Watch};
use crate::ports::Listening;
use crate::proxy;
use crate::shared::Shared;
use crate::tcp;
use crate::upstream::pool::Pool;

const SWEEP_EVERY: Duration = Duration::from_secs(1);
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// A listening socket of one worker.
pub(crate) struct Listener {
    pub(crate) socket: StdListener,
    pub(crate) is_tls: bool,
}

/// What a request has at hand on its thread.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) tasks: TaskTracker,
    pub(crate) requests: AtomicU64,
    pub(crate) seed: u64,
    /// Ends this worker's upgraded connections at the drain's limit.
    pub(crate) cut: CancellationToken,
    watches: RefCell<HashMap<u64, Arc<Watch>>>,
    next_connection: Cell<u64>,
    tls: TlsAcceptor,
}

/// Runs a worker on the calling thread until the process stops and everything is drained.
pub(crate) fn run(
    index: usize,
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    ports: UnboundedReceiver<Listening>,
    tls: Arc<ServerConfig>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let worker = Rc::new(Worker {
            index,
            shared,
            pool: Rc::default(),
            tasks: TaskTracker::new(),
            requests: AtomicU64::new(1),
            seed: seed(),
            cut: CancellationToken::new(),
            watches: RefCell::default(),
            next_connection: Cell::new(0),
            tls: TlsAcceptor::from(tls),
        });
        let accepting = TaskTracker::new();
        for listener in listeners {
            listener.socket.set_nonblocking(true)?;
            let socket = TcpListener::from_std(listener.socket)?;
            accepting.spawn_local(accept(Rc::clone(&worker), socket, listener.is_tls));
        }
        worker.sweep_until_stopped(&accepting, ports).await;
        accepting.close();
        accepting.wait().await;
        worker.drain().await;
        Ok(())
    })
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

async fn accept(worker: Rc<Worker>, socket: TcpListener, is_tls: bool) {
    let stop = worker.shared.stop.clone();
    loop {
        if worker.shared.connections.load(Relaxed) >= worker.shared.limits.connections {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(Duration::from_millis(10)) => continue,
            }
        }
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => worker.serve(stream, peer.ip(), is_tls),
            Err(error) => {
                // No file descriptors, most often: a pause lets connections end.
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    // Without a successor that holds the socket too, closing it resets the connections that wait in it.
    // What the runtime knows about readiness may be old, so the kernel is asked directly.
    let Ok(socket) = socket.into_std() else { return };
    while let Ok((stream, peer)) = socket.accept() {
        if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
            worker.serve(stream, peer.ip(), is_tls);
        }
    }
}

impl Worker {
    fn serve(self: &Rc<Self>, stream: TcpStream, peer: std::net::IpAddr, is_tls: bool) {
        // Fails only if the client is gone already.
        let _ = stream.set_nodelay(true);
        let watch = Arc::new(Watch::new(peer, is_tls, self.shared.now_ms()));
        let number = self.next_connection.replace(self.next_connection.get() + 1);
        self.watches.borrow_mut().insert(number, Arc::clone(&watch));
        self.shared.connections.fetch_add(1, Relaxed);
        let open = OpenConnection { worker: Rc::clone(self), number };
        let worker = Rc::clone(self);
        self.tasks.spawn_local(async move {
            let _open = open;
            if is_tls {
                worker.serve_tls(stream, watch).await;
            } else {
                let io = ClientIo::new(stream, Arc::clone(&watch), Arc::clone(&worker.shared));
                worker.serve_http1(io, watch).await;
            }
        });
    }

    async fn serve_tls(self: Rc<Self>, stream: TcpStream, watch: Arc<Watch>) {
        let handshake = tokio::time::timeout(self.shared.limits.header_timeout, self.tls.accept(stream));
        let Ok(Ok(stream)) = handshake.await else { return };
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = ClientIo::new(stream, Arc::clone(&watch), Arc::clone(&self.shared));
        if is_h2 {
            watch.speaks_h2();
            self.serve_http2(io, watch).await;
        } else {
            self.serve_http1(io, watch).await;
        }
    }

    async fn serve_http1(
        self: Rc<Self>,
        io: ClientIo<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
        watch: Arc<Watch>,
    ) {
        let head_bytes = self.shared.limits.head_bytes;
        let mut builder = http1::Builder::new();
        builder.max_headers(100).max_header_size(head_bytes).max_buf_size(head_bytes.max(64 << 10));
        // Time is watched over by the sweep, for all connections at once.
        builder.header_read_timeout(None);
        let service = {
            let watch = Arc::clone(&watch);
            service_fn(move |request| {
                let answer = proxy::answer(Rc::clone(&self), Arc::clone(&watch), request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            })
        };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
        let mut done = None;
        poll_fn(|cx| {
            while let Poll::Ready(command) = watch.poll_command(cx, done) {
                done = Some(command);
                match command {
                    Command::Finish => connection.as_mut().graceful_shutdown(),
                    Command::Cut => return Poll::Ready(()),
                }
            }
            connection.as_mut().poll(cx).map(|_| ())
        })
        .await;
    }

    async fn serve_http2(
        self: Rc<Self>,
        io: ClientIo<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
        watch: Arc<Watch>,
    ) {
        let mut builder = http2::Builder::new(OnThread(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .max_header_list_size(u32::try_from(self.shared.limits.head_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_send_buf_size(256 << 10)
            .enable_connect_protocol();
        let service = {
            let watch = Arc::clone(&watch);
            service_fn(move |request| {
                let answer = proxy::answer(Rc::clone(&self), Arc::clone(&watch), request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            })
        };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        let mut done = None;
        poll_fn(|cx| {
            while let Poll::Ready(command) = watch.poll_command(cx, done) {
                done = Some(command);
                match command {
                    Command::Finish => connection.as_mut().graceful_shutdown(),
                    Command::Cut => return Poll::Ready(()),
                }
            }
            connection.as_mut().poll(cx).map(|_| ())
        })
        .await;
    }

    async fn sweep_until_stopped(
        self: &Rc<Self>,
        accepting: &TaskTracker,
        mut ports: UnboundedReceiver<Listening>,
    ) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        let mut changes = self.shared.changed.subscribe();
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                _ = ticks.tick() => self.sweep(),
                Some(listening) = ports.recv() => {
                    accepting.spawn_local(tcp::accept(Rc::clone(self), listening));
                }
                // Connections to instances that left are closed at once, not at the next tick.
                _ = changes.changed() => self.pool.sweep(Instant::now()),
            }
        }
    }

    fn sweep(&self) {
        self.pool.sweep(Instant::now());
        let (now_ms, limits) = (self.shared.now_ms(), &self.shared.limits);
        for watch in self.watches.borrow().values().filter(|watch| watch.is_overdue(now_ms, limits)) {
            watch.send(Command::Cut);
        }
    }

    /// Ends what was begun: first with idle connections still answered, then without them, then by force.
    async fn drain(&self) {
        let (started, limits) = (Instant::now(), &self.shared.limits);
        self.tasks.close();
        let is_h2 = |watch: &&Arc<Watch>| watch.is_h2();
        for watch in self.watches.borrow().values().filter(is_h2) {
            watch.send(Command::Finish);
        }
        let mut finishing = false;
        while !self.tasks.is_empty() && started.elapsed() < limits.drain_limit {
            if !finishing && started.elapsed() >= limits.drain_grace {
                finishing = true;
                for watch in self.watches.borrow().values() {
                    watch.send(Command::Finish);
                }
            }
            self.sweep();
            tokio::select! {
                () = self.tasks.wait() => break,
                () = tokio::time::sleep(DRAIN_POLL) => {}
            }
        }
        self.cut.cancel();
        for watch in self.watches.borrow().values() {
            watch.send(Command::Cut);
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
        self.pool.clear();
    }
}

/// Counts a connection as long as it is open.
struct OpenConnection {
    worker: Rc<Worker>,
    number: u64,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.worker.watches.borrow_mut().remove(&self.number);
        self.worker.shared.connections.fetch_sub(1, Relaxed);
    }
}

/// Runs the streams of an HTTP/2 connection on its own thread.
#[derive(Clone)]
struct OnThread(TaskTracker);

impl<F: Future + 'static> Executor<F> for OnThread
where
    F::Output: 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn_local(stream);
    }
}
