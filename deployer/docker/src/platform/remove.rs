//! Removing a platform, and what an installation ran.

use std::collections::HashMap;

use bollard::query_parameters::{ListNetworksOptions, RemoveVolumeOptions};
use panda_deployer::runtime::RuntimeResult;

use super::{Component, PlatformHost, select};
use crate::engine::absent;
use crate::labels;

impl PlatformHost {
    /// Removes the platform's containers and its network; apps run on. With `volumes`, images and build cache go too.
    pub async fn remove_platform(&self, volumes: bool) -> RuntimeResult<usize> {
        let containers = self.labelled(select(&self.name)).await?;
        for id in &containers {
            self.remove(id).await?;
        }
        self.remove_networks(&select(&self.name)).await?;
        if volumes {
            for component in [Component::Registry, Component::Buildkitd] {
                let name = self.container_name(component);
                let options = RemoveVolumeOptions { force: true };
                let call = self.engine.docker.remove_volume(&name, Some(options));
                absent(self.engine.call(format!("remove volume `{name}`"), call).await)?;
            }
        }
        Ok(containers.len())
    }

    /// Removes every instance, task and network of an installation's apps. Returns how many containers there were.
    pub async fn remove_apps(&self, installation: &str) -> RuntimeResult<usize> {
        let label = format!("{}={installation}", labels::INSTALLATION);
        let containers = self.labelled(label.clone()).await?;
        for id in &containers {
            self.remove(id).await?;
        }
        self.remove_networks(&label).await?;
        Ok(containers.len())
    }

    async fn remove_networks(&self, label: &str) -> RuntimeResult<()> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListNetworksOptions { filters: Some(filters) };
        let networks =
            self.engine.call("list networks", self.engine.docker.list_networks(Some(options))).await?;
        for name in networks.into_iter().filter_map(|network| network.name) {
            let call = self.engine.docker.remove_network(&name);
            absent(self.engine.call(format!("remove network `{name}`"), call).await)?;
        }
        Ok(())
    }
}
