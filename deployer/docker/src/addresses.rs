//! Who has which address: subnets of environments, addresses of instances, none given again for a day.
//!
//! A stale route must never reach another tenant. The book lies in one file and is corrected by what the engine holds.

mod book;
mod subnet;

use std::net::Ipv4Addr;

use panda_deployer::runtime::{EnvironmentKey, RuntimeError, RuntimeResult};
use panda_domain::clock::Clock;

use crate::config::DockerConfig;
use crate::state_file::{Kept, StateFile};
use book::Book;
pub(crate) use book::Held;
pub(crate) use subnet::Subnet;

/// The book of addresses, shared by everything that gives or takes one.
#[derive(Clone)]
pub(crate) struct Addresses {
    book: Kept<Book>,
    clock: Clock,
    pool: Subnet,
    prefix: u8,
}

impl Addresses {
    /// Opens the book of the state folder and corrects it by what the engine holds now.
    pub(crate) async fn open(
        config: &DockerConfig,
        networks: Vec<(EnvironmentKey, Subnet)>,
        held: Vec<Held>,
    ) -> RuntimeResult<Self> {
        let pool: Subnet = config.subnet_pool.parse().map_err(|reason| RuntimeError::Rejected {
            doing: format!("use `{}` for the environments' networks", config.subnet_pool),
            reason,
        })?;
        let addresses = Self {
            book: Kept::open(StateFile::new(&config.state_dir, "addresses.json"))?,
            clock: config.clock.clone(),
            pool,
            prefix: config.subnet_prefix.clamp(pool.prefix(), 29),
        };
        addresses
            .change(move |book, now| {
                book.adopt(&networks, &held, now);
                Ok(())
            })
            .await?;
        Ok(addresses)
    }

    /// Returns the environment's subnet, a new one outside of `taken` if it has none.
    pub(crate) async fn subnet(&self, key: &EnvironmentKey, taken: Vec<Subnet>) -> RuntimeResult<Subnet> {
        let (key, pool, prefix) = (key.clone(), self.pool, self.prefix);
        self.change(move |book, now| {
            book.subnet(&key, pool, prefix, &taken, now).ok_or_else(|| RuntimeError::Rejected {
                doing: "choose a network's addresses".to_owned(),
                reason: format!("all networks of the pool `{pool}` are in use; configure a larger pool"),
            })
        })
        .await
    }

    /// Notes the subnet of an environment that the engine has a network of.
    pub(crate) async fn know(&self, key: &EnvironmentKey, subnet: Subnet) -> RuntimeResult<()> {
        if self.book.look(|book| book.knows(key)) {
            return Ok(());
        }
        let key = key.clone();
        self.change(move |book, _| {
            book.know(&key, subnet);
            Ok(())
        })
        .await
    }

    /// Gives the environment's subnet back.
    pub(crate) async fn release_subnet(&self, key: &EnvironmentKey) -> RuntimeResult<()> {
        let key = key.clone();
        self.change(move |book, now| {
            book.release_subnet(&key, now);
            Ok(())
        })
        .await
    }

    /// Gives an address of the environment to each owner, in order; the same owner gets the same again.
    pub(crate) async fn give(
        &self,
        key: &EnvironmentKey,
        owners: Vec<String>,
    ) -> RuntimeResult<Vec<Ipv4Addr>> {
        let key = key.clone();
        self.change(move |book, now| {
            // Its last app may have gone a moment ago and taken the network along: that is made again, not refused.
            if !book.knows(&key) {
                let what = format!("the network of environment `{}`", key.environment);
                return Err(RuntimeError::Conflict { what });
            }
            owners.iter().map(|owner| book.give(&key, owner, now)).collect::<Option<Vec<_>>>().ok_or_else(
                || RuntimeError::Rejected {
                    doing: "choose addresses of instances".to_owned(),
                    reason: "the environment's network has no free address left".to_owned(),
                },
            )
        })
        .await
    }

    /// Takes the addresses of an owner that is gone.
    pub(crate) async fn release(&self, owner: &str) -> RuntimeResult<()> {
        let owner = owner.to_owned();
        self.change(move |book, now| {
            book.release(&owner, now);
            Ok(())
        })
        .await
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Book, i64) -> RuntimeResult<T> + Send + 'static,
    ) -> RuntimeResult<T> {
        let now = self.clock.now_ms();
        self.book.change(move |book| change(book, now)).await
    }
}
