//! A second server of an installation whose state is in PostgreSQL.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use panda_api_types::Deployment;
use panda_test_support::process::{Daemon, Program};

use crate::api::Api;
use crate::app::PATIENCE;
use crate::ground::binary;
use crate::installation::Installation;

/// A server beside the first, with a data folder of its own and the same keys.
#[derive(Debug)]
pub struct SecondServer {
    api: Api,
    daemon: Mutex<Option<Daemon>>,
}

impl SecondServer {
    /// Starts it and waits until it is ready.
    pub async fn start(panda: &Installation) -> anyhow::Result<Self> {
        let data = panda.folder.join("second");
        let keys = data.join("keys");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&keys)?;
        for entry in std::fs::read_dir(panda.folder.join("data/keys"))? {
            let from = entry?.path();
            std::fs::copy(&from, keys.join(from.file_name().unwrap_or_default()))?;
        }
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut program = Program::new(binary("panda-server")?).args(["serve", "--data-dir"]).args([&data]);
        for (name, value) in panda.settings() {
            program = program.env(name, value);
        }
        let program = program.env("PANDA_LISTEN__API", address.to_string());
        let daemon = program.start("panda-server-2", &panda.folder.join("second.log"))?;
        let begun = Instant::now();
        let url = format!("http://{address}");
        while !reqwest::get(format!("{url}/readyz")).await.is_ok_and(|answer| answer.status().is_success()) {
            if daemon.ended().is_some() || begun.elapsed() > PATIENCE {
                bail!("the second server isn't ready:\n{}", daemon.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let api = panda.api().clone().moved_to(&url);
        Ok(Self { api, daemon: Mutex::new(Some(daemon)) })
    }

    /// Waits until a deployment is live, as this server tells it.
    pub async fn until_live(&self, deployment: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let seen: Deployment = self.api.get(deployment).await?;
            if seen.state == "live" {
                return Ok(());
            }
            anyhow::ensure!(seen.active && begun.elapsed() < PATIENCE, "not live: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends it SIGKILL.
    pub fn kill9(&self) {
        *self.daemon.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
