//! What an operator chooses about deployments.

use std::net::SocketAddr;

use panda_domain::deployment::PhaseDeadlines;
use panda_domain::port::PortRange;
use panda_registry_token::RegistryKey;

/// How apps are run and reached.
#[derive(Debug, Clone)]
pub struct DeploySettings {
    /// Host (and port) that the runtime pulls the platform's own images from.
    pub pull_url: String,
    /// The key of that registry, if it asks for tokens.
    pub login: Option<RegistryKey>,
    /// Deadlines of queue and build; those of release command and rollout come with each release.
    pub deadlines: PhaseDeadlines,
    /// The platform's own host, which no app may have.
    pub platform_host: String,
    /// Where the platform's API listens for the ingress.
    pub platform_address: SocketAddr,
    /// The port that people see in URLs, when it isn't 443.
    pub https_port: u16,
    /// The ports that apps may publish.
    pub tcp_ports: PortRange,
}

impl DeploySettings {
    /// Returns the URL of a host.
    pub fn url_of(&self, host: &str) -> String {
        if self.https_port == 443 {
            format!("https://{host}")
        } else {
            format!("https://{host}:{}", self.https_port)
        }
    }
}
