//! What the engine says, asked by its own command: the tests don't believe the platform about itself.

use std::path::{Path, PathBuf};

use panda_test_support::process::Program;

/// The label that the Docker runtime puts on everything.
const INSTALLATION: &str = "dev.panda.installation";

/// An engine, looked at through `docker`.
#[derive(Debug, Clone)]
pub struct Docker {
    socket: PathBuf,
}

impl Docker {
    /// Looks at the engine behind this socket.
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Runs `docker` with these arguments; fails with what it said.
    pub fn call(&self, arguments: &[&str]) -> anyhow::Result<String> {
        Program::new("docker")
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .args(arguments)
            .output()
    }

    fn lines(&self, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
        Ok(self.call(arguments)?.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect())
    }

    /// Returns the networks whose subnet begins with this, such as `10.117.`: the installation that owns the range.
    pub fn networks(&self, range: &str) -> anyhow::Result<Vec<String>> {
        let all = self.lines(&["network", "ls", "-q", "--filter", &format!("label={INSTALLATION}")])?;
        if all.is_empty() {
            return Ok(all);
        }
        let format = "{{.Id}} {{range .IPAM.Config}}{{.Subnet}} {{end}}";
        let mut arguments = vec!["network", "inspect", "--format", format];
        arguments.extend(all.iter().map(String::as_str));
        // One that goes away between the two calls isn't an error.
        let shown = self.lines(&arguments).unwrap_or_default();
        let ours = shown
            .iter()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, subnets)| subnets.starts_with(range));
        Ok(ours.map(|(id, _)| id.to_owned()).collect())
    }

    /// Returns the containers, running or not, in the networks of this range.
    pub fn containers(&self, range: &str) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for network in self.networks(range)? {
            found.extend(self.lines(&["ps", "-aq", "--filter", &format!("network={network}")])?);
        }
        Ok(found)
    }

    /// Removes all containers and networks of this range.
    pub fn clean(&self, range: &str) {
        let containers = self.containers(range).unwrap_or_default();
        if !containers.is_empty() {
            let mut arguments = vec!["rm", "-f", "-v"];
            arguments.extend(containers.iter().map(String::as_str));
            let _ = self.call(&arguments);
        }
        for network in self.networks(range).unwrap_or_default() {
            let _ = self.call(&["network", "rm", &network]);
        }
    }
}
