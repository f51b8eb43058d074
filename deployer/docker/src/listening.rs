//! Which TCP ports a container really listens on, read from the kernel's table of its network namespace.
//!
//! `/proc/<pid>` is that of the host: a server in a container needs the host's pid namespace for this, and finds nothing
//! without it.

use panda_deployer::listening;

/// Returns the ports that processes in the network namespace of `pid` listen on, and whether on localhost only.
pub(crate) async fn ports(pid: i64) -> Vec<(u16, bool)> {
    if pid <= 0 {
        return Vec::new();
    }
    // Not readable means not known, which is what an empty list says.
    let read = async |table| tokio::fs::read_to_string(format!("/proc/{pid}/net/{table}")).await;
    let tables = [read("tcp").await.unwrap_or_default(), read("tcp6").await.unwrap_or_default()];
    listening::ports(tables.iter().map(String::as_str))
}
