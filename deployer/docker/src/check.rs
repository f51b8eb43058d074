//! What doctor should know about the engine.

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum};
use panda_deployer::runtime::{Check, CheckState};
use panda_edge::client::EdgeClient;

use crate::runtime::Driver;

impl Driver {
    /// Looks at the engine and the edge.
    pub(crate) async fn check(&self) -> Vec<Check> {
        let mut checks = match self.engine.info().await {
            Ok(info) => engine(&info),
            Err(error) => vec![failed(
                "Docker engine",
                error.to_string(),
                "start it: systemctl start docker; see `journalctl -u docker`",
            )],
        };
        if let Some(socket) = &self.edge_socket {
            checks.push(match EdgeClient::new(socket).status().await {
                Ok(status) => ok(
                    "edge",
                    format!(
                        "version {}, {} routes, generation {}",
                        status.version, status.routes, status.generation
                    ),
                ),
                Err(error) => {
                    failed("edge", error.to_string(), "start its container: docker start panda-edge")
                }
            });
        }
        checks
    }
}

/// Looks at what the engine tells about itself.
pub(crate) fn engine(info: &SystemInfo) -> Vec<Check> {
    let version = info.server_version.clone().unwrap_or_default();
    let driver = info.driver.clone().unwrap_or_default();
    let v2 = info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_2);
    let mut checks = vec![ok("Docker engine", version)];
    checks.push(if info.live_restore_enabled == Some(true) {
        ok("live-restore", "on".to_owned())
    } else {
        warning(
            "live-restore",
            "off: a restart of Docker restarts every app".to_owned(),
            "put {\"live-restore\": true} into /etc/docker/daemon.json, then: systemctl reload docker",
        )
    });
    checks.push(if driver == "overlay2" || driver == "overlayfs" {
        ok("storage driver", driver)
    } else {
        warning("storage driver", driver, "use overlay2: other drivers copy whole layers")
    });
    checks.push(ok("cgroups", if v2 { "version 2" } else { "version 1" }.to_owned()));
    checks.push(if info.memory_limit == Some(true) && info.pids_limit == Some(true) {
        ok("limits", "memory and processes can be limited".to_owned())
    } else {
        failed(
            "limits",
            "the kernel can't limit memory or processes".to_owned(),
            "boot with cgroup_enable=memory and swapaccount=1",
        )
    });
    checks.push(forwarding(info));
    checks.push(seccomp(info));
    checks
}

fn forwarding(info: &SystemInfo) -> Check {
    if info.ipv4_forwarding == Some(true) && bridge_rules(info) {
        ok("network", "forwarding and bridge rules are on".to_owned())
    } else {
        failed(
            "network",
            "forwarding or bridge rules are off".to_owned(),
            "sysctl -w net.ipv4.ip_forward=1; modprobe br_netfilter",
        )
    }
}

fn seccomp(info: &SystemInfo) -> Check {
    let on = info.security_options.iter().flatten().any(|option| option.starts_with("name=seccomp"));
    if on {
        ok("seccomp", "the engine's default list".to_owned())
    } else {
        failed("seccomp", "off".to_owned(), "use a kernel with CONFIG_SECCOMP_FILTER")
    }
}

/// Engines say it as a warning when packets between containers pass no rules.
fn bridge_rules(info: &SystemInfo) -> bool {
    !info.warnings.iter().flatten().any(|warning| warning.contains("bridge-nf-call-iptables is disabled"))
}

fn ok(name: &str, seen: String) -> Check {
    Check { name: name.to_owned(), state: CheckState::Ok, seen, fix: String::new() }
}

fn warning(name: &str, seen: String, fix: &str) -> Check {
    Check { name: name.to_owned(), state: CheckState::Warning, seen, fix: fix.to_owned() }
}

fn failed(name: &str, seen: String, fix: &str) -> Check {
    Check { name: name.to_owned(), state: CheckState::Failed, seen, fix: fix.to_owned() }
}
