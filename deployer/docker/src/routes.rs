//! Routes: the table with addresses filled in, handed to the edge as one snapshot.
//!
//! One task owns the link, so that two callers can't overtake each other.

mod snapshot;

use std::path::PathBuf;
use std::time::Duration;

use panda_deployer::runtime::{ObservedRoutes, RouteTable, RuntimeError, RuntimeResult};
use panda_domain::port::PortState;
use panda_edge::client::{ClientError, EdgeClient};
use panda_edge::protocol::{Outline, Patch, Snapshot, TcpPort};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::runtime::Driver;
use crate::state_file::{Kept, StateFile};

/// How long the edge may take to acknowledge.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many callers may wait for their turn.
const QUEUE: usize = 64;

/// The generation of the last snapshot that was sent, whether it arrived or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Generation(u64);

/// What the owner of the link is asked for.
enum Ask {
    /// Make the edge serve this.
    Push(Push),
    /// Which TCP ports does it listen on?
    Ports(oneshot::Sender<RuntimeResult<Vec<TcpPort>>>),
    /// Does it still serve what was pushed last, from instances at this mark?
    Stands { instances: u64, answer: oneshot::Sender<RuntimeResult<bool>> },
}

struct Push {
    snapshot: Snapshot,
    /// The mark of the instances before they were read.
    instances: u64,
    done: oneshot::Sender<RuntimeResult<()>>,
}

/// The way to the task that owns the link.
#[derive(Debug, Clone)]
pub(crate) struct EdgeLink(mpsc::Sender<Ask>);

struct Owner {
    client: EdgeClient,
    generation: Kept<Generation>,
    /// What the edge serves, `None` when that isn't certain.
    served: Option<Outline>,
    /// The mark of the instances that it was made from.
    instances: u64,
}

impl EdgeLink {
    /// Opens the link; `run` has to be spawned by who owns tasks.
    pub(crate) fn open(
        socket: PathBuf,
        state: StateFile,
    ) -> RuntimeResult<(Self, impl Future<Output = ()> + Send + 'static)> {
        let (sender, mut asks) = mpsc::channel::<Ask>(QUEUE);
        let client = EdgeClient::new(socket).with_deadline(DEADLINE);
        let mut owner = Owner { client, generation: Kept::open(state)?, served: None, instances: 0 };
        let run = async move {
            while let Some(ask) = asks.recv().await {
                // A caller that left meanwhile doesn't need the answer.
                match ask {
                    Ask::Push(push) => {
                        let outcome = owner.push(push.snapshot).await;
                        owner.instances = push.instances;
                        let _ = push.done.send(outcome);
                    }
                    Ask::Ports(answer) => {
                        let status = owner.client.status().await;
                        let _ = answer.send(status.map(|status| status.tcp_ports).map_err(explain));
                    }
                    Ask::Stands { instances, answer } => {
                        let _ = answer.send(owner.stands(instances).await);
                    }
                }
            }
        };
        Ok((Self(sender), run))
    }

    /// Makes the edge serve the snapshot; its generation is filled in here.
    async fn push(&self, snapshot: Snapshot, instances: u64) -> RuntimeResult<()> {
        let (done, outcome) = oneshot::channel();
        self.ask(Ask::Push(Push { snapshot, instances, done }), outcome).await
    }

    async fn stands(&self, instances: u64) -> RuntimeResult<bool> {
        let (answer, outcome) = oneshot::channel();
        self.ask(Ask::Stands { instances, answer }, outcome).await
    }

    async fn ports(&self) -> RuntimeResult<Vec<TcpPort>> {
        let (answer, outcome) = oneshot::channel();
        self.ask(Ask::Ports(answer), outcome).await
    }

    async fn ask<T>(&self, ask: Ask, outcome: oneshot::Receiver<RuntimeResult<T>>) -> RuntimeResult<T> {
        let gone = || RuntimeError::Unavailable { doing: "reach the edge".to_owned(), source: None };
        self.0.send(ask).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

impl Owner {
    async fn push(&mut self, mut next: Snapshot) -> RuntimeResult<()> {
        if let Some(served) = &self.served {
            next.generation = served.generation;
            // An edge that lost its disk and was started anew serves generation 0: asking is cheaper than sending.
            let same = Patch::between(served, &next).is_empty();
            if same && self.client.generation().await.is_ok_and(|g| g == next.generation) {
                return Ok(());
            }
        }
        let floor = match &self.served {
            Some(served) => served.generation,
            None => self.client.generation().await.map_err(explain)?,
        };
        next.generation = self.next_generation(floor).await?;
        let outcome = self.client.advance(self.served.as_ref(), &next).await;
        let outcome = match outcome {
            Err(ClientError::StaleGeneration { current }) => {
                next.generation = self.next_generation(current).await?;
                self.client.put_snapshot(&next).await
            }
            outcome => outcome,
        };
        // After an error nobody knows what the edge serves; the next push is a full one.
        self.served = outcome.is_ok().then(|| Outline::of(&next));
        outcome.map(|_| ()).map_err(explain)
    }

    /// An edge that lost its disk and was started anew serves another generation.
    async fn stands(&self, instances: u64) -> RuntimeResult<bool> {
        let Some(served) = self.served.as_ref().filter(|_| self.instances == instances) else {
            return Ok(false);
        };
        Ok(self.client.generation().await.map_err(explain)? == served.generation)
    }

    /// Returns a number above all that were used, kept before it is used.
    async fn next_generation(&self, floor: u64) -> RuntimeResult<u64> {
        self.generation
            .change(move |kept| {
                kept.0 = kept.0.max(floor) + 1;
                Ok(kept.0)
            })
            .await
    }
}

impl Driver {
    /// Makes the edge route just this table.
    pub(crate) async fn ensure_routes(&self, table: &RouteTable) -> RuntimeResult<ObservedRoutes> {
        let link = self.edge()?;
        let instances = self.instances.mark();
        let snapshot = snapshot::of(table, &self.instances);
        let upstreams = table.routes.iter().zip(&snapshot.routes).map(|(spec, route)| {
            let addresses = route.upstreams.iter().map(|upstream| upstream.address.to_string());
            (spec.id.clone(), addresses.collect())
        });
        let upstreams = upstreams.collect();
        let ports = self.push(link, table, snapshot, instances).await?;
        Ok(ObservedRoutes { upstreams, ports })
    }

    /// Makes the edge serve the snapshot; tells what became of the ports. An edge that doesn't take them, because it is of the
    /// version before, gets the rest: what it refuses it refuses whole.
    async fn push(
        &self,
        link: &EdgeLink,
        table: &RouteTable,
        snapshot: Snapshot,
        instances: u64,
    ) -> RuntimeResult<Vec<(u16, PortState)>> {
        let ports = table.ports.iter().map(|spec| spec.published);
        match link.push(snapshot, instances).await {
            Ok(()) => {
                let listening = if table.ports.is_empty() { Vec::new() } else { link.ports().await? };
                Ok(ports.map(|port| (port, state(port, &listening))).collect())
            }
            Err(RuntimeError::Rejected { reason, .. }) if !table.ports.is_empty() => {
                let mut rest = snapshot::of(table, &self.instances);
                rest.routes.retain(|route| route.tcp_port.is_none());
                link.push(rest, instances).await?;
                let reason = format!("the edge doesn't take it ({reason}); is it older than the server?");
                Ok(ports.map(|port| (port, PortState::Failed { reason: reason.clone() })).collect())
            }
            Err(error) => Err(error),
        }
    }

    /// Tells whether the same table would change nothing.
    pub(crate) async fn routes_stand(&self) -> RuntimeResult<bool> {
        self.edge()?.stands(self.instances.mark()).await
    }

    fn edge(&self) -> RuntimeResult<&EdgeLink> {
        self.edge.as_ref().ok_or(RuntimeError::Unsupported { capability: "edge" })
    }
}

fn state(published: u16, listening: &[TcpPort]) -> PortState {
    match listening.iter().find(|one| one.port == published) {
        Some(TcpPort { problem: None, .. }) => PortState::Open { host: None },
        Some(TcpPort { problem: Some(problem), .. }) => PortState::Failed { reason: problem.clone() },
        None => PortState::Waiting { reason: "the edge doesn't know it yet".to_owned() },
    }
}

fn explain(error: ClientError) -> RuntimeError {
    let doing = "make the edge route".to_owned();
    match error {
        ClientError::Refused(problem) => RuntimeError::Rejected { doing, reason: problem.detail },
        error if error.is_transient() => RuntimeError::Unavailable { doing, source: Some(Box::new(error)) },
        error => RuntimeError::Internal { doing, source: Box::new(error) },
    }
}
