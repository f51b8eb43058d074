//! What routes cost in memory while nobody asks for them.

use std::path::Path;

use panda_edge::protocol::Snapshot;
use serde::Serialize;

use crate::proxies::{route, start_edge};

/// Memory of the edge with so many routes without instances.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) routes: usize,
    pub(crate) resident_kib: u64,
}

/// Measures with 0, 100, 1,000 and 10,000 routes.
pub(crate) async fn run(edge: &Path) -> anyhow::Result<Vec<Memory>> {
    let mut all = Vec::new();
    for routes in [0, 100, 1_000, 10_000] {
        let folder = tempfile::tempdir()?;
        let (proxy, client) = start_edge(edge, folder.path(), 2).await?;
        let mut snapshot = Snapshot { generation: 1, ..Snapshot::default() };
        for number in 0..routes {
            let mut empty = route(number, &format!("app-{number}.bench.test"), 1);
            empty.upstreams.clear();
            snapshot.routes.push(empty);
        }
        client.put_snapshot(&snapshot).await?;
        all.push(Memory { routes, resident_kib: proxy.process.resident_kib() });
    }
    Ok(all)
}
