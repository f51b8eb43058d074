//! Connections to a TCP port: an instance is chosen as for a request, then bytes go both ways until both sides ended.
//!
//! A connection stays with its instance for life. One that leaves the routes gets no new ones and keeps those it has, until
//! they end or it is stopped.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::hold::Hold;
use crate::metrics::AppStats;
use crate::ports::Listening;
use crate::table::{Choice, LiveRoute};
use crate::upgrade::{Traffic, carry};
use crate::upstream::connection::Connection;
use crate::upstream::instance::Instance;
use crate::worker::Worker;

/// Accepts from a port until it is closed or the process stops.
pub(crate) async fn accept(worker: Rc<Worker>, listening: Listening) {
    let Listening { port, socket, closed } = listening;
    let Ok(socket) = socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)) else {
        return;
    };
    let stop = worker.shared.stop.clone();
    loop {
        let is_full = worker.shared.connections.load(Relaxed) >= worker.shared.limits.connections;
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept(), if !is_full => accepted,
            () = closed.cancelled() => return,
            () = stop.cancelled() => break,
            () = tokio::time::sleep(Duration::from_millis(10)), if is_full => continue,
        };
        match accepted {
            Ok((client, _)) => worker.carry_tcp(port, client),
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    // As for requests: what waits in the queue would be reset where no successor holds the socket.
    let Ok(socket) = socket.into_std() else { return };
    while let Ok((client, _)) = socket.accept() {
        if let Ok(client) = client.set_nonblocking(true).and_then(|()| TcpStream::from_std(client)) {
            worker.carry_tcp(port, client);
        }
    }
}

impl Worker {
    fn carry_tcp(self: &Rc<Self>, port: u16, client: TcpStream) {
        // Fails only if the client is gone already.
        let _ = client.set_nodelay(true);
        let worker = Rc::clone(self);
        let cut = self.cut.clone();
        self.tasks.spawn_local(async move {
            let _open = Counted::new(&worker);
            cut.run_until_cancelled(serve(&worker, port, client)).await;
        });
    }
}

async fn serve(worker: &Rc<Worker>, port: u16, client: TcpStream) {
    let Some((route, connection)) = connect(worker, port).await else { return };
    let busy = Busy::new(worker, &route.stats, &connection.instance);
    let counters = route.stats.shard(worker.index);
    let inwards = |count| counters.bytes_in.add(count as u64);
    let outwards = |count| counters.bytes_out.add(count as u64);
    let idle = Duration::from_millis(route.options.idle_timeout_ms);
    // That a side broke is what the other side sees of it.
    let _ = carry(client, connection, idle, Traffic { inwards: &inwards, outwards: &outwards }).await;
    drop(busy);
}

/// Connects to an instance of the port's route; waits for one as a request would.
async fn connect(worker: &Worker, port: u16) -> Option<(Arc<LiveRoute>, Box<Connection>)> {
    let (mut hold, mut tried): (Option<Hold>, _) = (None, None);
    loop {
        let route = Arc::clone(worker.shared.table.load().ports.get(&port)?);
        let instance = match route.choose(worker.shared.now_ms(), tried.take()) {
            Choice::Instance(instance) => instance,
            Choice::Wait(again_in) => {
                if let Some(hold) = &mut hold {
                    hold.wait(again_in).await.ok()?;
                } else {
                    let begun = Hold::begin(&worker.shared, &route.stats, worker.index, &route.options);
                    hold = Some(begun.ok()?);
                }
                continue;
            }
        };
        let deadline = Duration::from_millis(route.options.connect_timeout_ms);
        match Connection::open(Arc::clone(&instance), deadline).await {
            Ok(connection) => {
                if instance.accepted() {
                    worker.shared.wake_held();
                }
                return Some((route, connection));
            }
            Err(error) => {
                instance.eject(worker.shared.now_ms());
                route.stats.shard(worker.index).upstream_errors.add(1);
                tracing::debug!(%error, "instance `{}` at {} refused a connection", instance.id, instance.address);
                tried = Some(instance.uid);
            }
        }
    }
}

/// Counts an open connection of the process.
struct Counted(Rc<Worker>);

impl Counted {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.shared.connections.fetch_add(1, Relaxed);
        Self(Rc::clone(worker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.shared.connections.fetch_sub(1, Relaxed);
    }
}

/// Counts a connection that an instance has.
struct Busy {
    worker: usize,
    stats: Arc<AppStats>,
    instance: Arc<Instance>,
}

impl Busy {
    fn new(worker: &Worker, stats: &Arc<AppStats>, instance: &Arc<Instance>) -> Self {
        stats.shard(worker.index).active.add(1);
        instance.begin();
        Self { worker: worker.index, stats: Arc::clone(stats), instance: Arc::clone(instance) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.instance.end();
        self.stats.shard(self.worker).active.sub(1);
    }
}
