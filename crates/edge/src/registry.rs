//! What the edge was told, and how the next table is made from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::metrics::AppStats;
use crate::protocol::{Certificate, Challenge, Patch, Redirect, Route, RouteKind, Snapshot};
use crate::table::{LiveRoute, Site, Table};
use crate::tls::LazyCertificate;
use crate::upstream::instance::Instance;

mod validate;

pub(crate) use validate::Invalid;

/// The source of the table: owned by the control side, never read by a request.
pub(crate) struct Registry {
    workers: usize,
    table: Table,
    routes: BTreeMap<String, Entry>,
    certificates: BTreeMap<String, Arc<Certificate>>,
    redirects: Vec<Redirect>,
    /// Who claims a host: ids of routes.
    claims: HashMap<String, BTreeSet<String>>,
    stats: HashMap<String, Arc<AppStats>>,
}

struct Entry {
    source: Route,
    live: Arc<LiveRoute>,
}

impl Registry {
    /// Returns a registry that serves nothing yet.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            table: Table::default(),
            routes: BTreeMap::new(),
            certificates: BTreeMap::new(),
            redirects: Vec::new(),
            claims: HashMap::new(),
            stats: HashMap::new(),
        }
    }

    /// Returns the generation of the table.
    pub(crate) fn generation(&self) -> u64 {
        self.table.generation
    }

    /// Returns the table as it is now; what it shares with the former one isn't copied.
    pub(crate) fn table(&self) -> Table {
        self.table.clone()
    }

    pub(crate) fn route_count(&self) -> usize {
        self.routes.len()
    }

    pub(crate) fn certificate_count(&self) -> usize {
        self.certificates.len()
    }

    /// Returns the instances of every route.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.routes.values().flat_map(|entry| entry.live.instances.iter())
    }

    /// Returns the counters of every app, by name.
    pub(crate) fn stats(&self) -> Vec<Arc<AppStats>> {
        let mut stats: Vec<_> = self.stats.values().cloned().collect();
        stats.sort_unstable_by(|a, b| a.app.cmp(&b.app));
        stats
    }

    /// Returns everything as one snapshot, for the disk.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            generation: self.generation(),
            routes: self.routes.values().map(|entry| entry.source.clone()).collect(),
            certificates: self.certificates.values().map(|certificate| (**certificate).clone()).collect(),
            challenges: self.table.challenges.to_vec(),
            redirects: self.redirects.clone(),
        }
    }

    /// Returns what leads from here to `next`.
    pub(crate) fn patch_to(&self, next: Snapshot) -> Patch {
        let mut gone: BTreeSet<&str> = self.routes.keys().map(String::as_str).collect();
        let mut gone_certificates: BTreeSet<&str> = self.certificates.keys().map(String::as_str).collect();
        for route in &next.routes {
            gone.remove(route.id.as_str());
        }
        for certificate in &next.certificates {
            gone_certificates.remove(certificate.id.as_str());
        }
        let removed_routes = gone.into_iter().map(str::to_owned).collect();
        let removed_certificates = gone_certificates.into_iter().map(str::to_owned).collect();
        let is_new = |route: &Route| self.routes.get(&route.id).is_none_or(|entry| entry.source != *route);
        let is_new_certificate = |certificate: &Certificate| {
            self.certificates.get(&certificate.id).is_none_or(|known| **known != *certificate)
        };
        Patch {
            from: self.generation(),
            to: next.generation,
            routes: next.routes.into_iter().filter(is_new).collect(),
            removed_routes,
            certificates: next.certificates.into_iter().filter(is_new_certificate).collect(),
            removed_certificates,
            challenges: (*next.challenges != *self.table.challenges).then_some(next.challenges),
            redirects: (next.redirects != self.redirects).then_some(next.redirects),
        }
    }

    /// Applies a patch as a whole, or nothing of it.
    pub(crate) fn apply(&mut self, patch: &Patch) -> Result<(), Invalid> {
        validate::patch(patch)?;
        self.apply_trusted(patch);
        Ok(())
    }

    /// Applies a patch that was checked before it was written down.
    pub(crate) fn apply_trusted(&mut self, patch: &Patch) {
        let mut touched = BTreeSet::new();
        let ports_touched = self.touches_ports(patch);
        for id in &patch.removed_routes {
            self.remove_route(id, &mut touched);
        }
        for route in &patch.routes {
            self.insert_route(route.clone(), &mut touched);
        }
        if let Some(redirects) = &patch.redirects {
            let hosts = self.redirects.iter().chain(redirects).flat_map(|redirect| redirect.hosts.iter());
            touched.extend(hosts.cloned());
            self.redirects.clone_from(redirects);
        }
        for host in &touched {
            let site = self.site(host);
            self.table.sites.set(host, site.map(Arc::new));
        }
        if ports_touched {
            self.table.ports = Arc::new(self.ports());
        }
        self.apply_certificates(patch);
        if let Some(challenges) = &patch.challenges {
            self.table.challenges = Arc::<[Challenge]>::from(challenges.as_slice());
        }
        self.table.generation = patch.to;
        self.forget_unused_apps();
    }

    fn touches_ports(&self, patch: &Patch) -> bool {
        let former = |id: &String| self.routes.get(id).is_some_and(|entry| entry.source.tcp_port.is_some());
        patch.removed_routes.iter().any(former)
            || patch.routes.iter().any(|route| route.tcp_port.is_some() || former(&route.id))
    }

    /// Of two routes that name one port the first id serves, as with hosts.
    fn ports(&self) -> BTreeMap<u16, Arc<LiveRoute>> {
        let entries = self.routes.values().rev();
        entries.filter_map(|entry| Some((entry.source.tcp_port?, Arc::clone(&entry.live)))).collect()
    }

    fn remove_route(&mut self, id: &str, touched: &mut BTreeSet<String>) {
        let Some(entry) = self.routes.remove(id) else { return };
        for instance in &entry.live.instances {
            instance.retire();
        }
        self.unclaim(&entry.source, touched);
    }

    fn insert_route(&mut self, source: Route, touched: &mut BTreeSet<String>) {
        let former = self.routes.remove(&source.id);
        if let Some(former) = &former {
            self.unclaim(&former.source, touched);
        }
        for host in &source.hosts {
            self.claims.entry(host.clone()).or_default().insert(source.id.clone());
            touched.insert(host.clone());
        }
        let live = Arc::new(self.live(&source, former.as_ref().map(|former| &*former.live)));
        for instance in former.iter().flat_map(|former| former.live.instances.iter()) {
            if !live.instances.iter().any(|kept| kept.uid == instance.uid) {
                instance.retire();
            }
        }
        self.routes.insert(source.id.clone(), Entry { source, live });
    }

    fn unclaim(&mut self, route: &Route, touched: &mut BTreeSet<String>) {
        for host in &route.hosts {
            if let Some(ids) = self.claims.get_mut(host) {
                ids.remove(&route.id);
                if ids.is_empty() {
                    self.claims.remove(host);
                }
            }
            touched.insert(host.clone());
        }
    }

    /// An instance that stays keeps its record: connections, refusals and requests in flight.
    fn live(&mut self, source: &Route, former: Option<&LiveRoute>) -> LiveRoute {
        let kept = |upstream: &crate::protocol::Upstream| {
            former?
                .instances
                .iter()
                .find(|instance| *instance.id == *upstream.id && instance.address == upstream.address)
                .cloned()
        };
        let options = match former {
            Some(former) if *former.options == source.options => Arc::clone(&former.options),
            _ => Arc::new(source.options.clone()),
        };
        LiveRoute {
            id: source.id.as_str().into(),
            prefix: source.path_prefix.as_str().into(),
            kind: source.kind,
            options,
            instances: source
                .upstreams
                .iter()
                .map(|upstream| kept(upstream).unwrap_or_else(|| Arc::new(Instance::new(upstream))))
                .collect(),
            stats: self.stats_of(&source.app),
            turn: AtomicUsize::new(0),
        }
    }

    fn stats_of(&mut self, app: &str) -> Arc<AppStats> {
        if let Some(stats) = self.stats.get(app) {
            return Arc::clone(stats);
        }
        let stats = Arc::new(AppStats::new(app, self.workers));
        self.stats.insert(app.to_owned(), Arc::clone(&stats));
        stats
    }

    fn forget_unused_apps(&mut self) {
        // One handle is the map's own, every live route and request has another.
        self.stats.retain(|_, stats| Arc::strong_count(stats) > 1);
    }

    fn site(&mut self, host: &str) -> Option<Site> {
        let mut routes: Vec<Arc<LiveRoute>> = self
            .claims
            .get(host)
            .into_iter()
            .flatten()
            .filter_map(|id| self.routes.get(id))
            .map(|entry| Arc::clone(&entry.live))
            .collect();
        if routes.iter().any(|route| route.kind == RouteKind::Platform) {
            routes.retain(|route| route.kind == RouteKind::Platform);
        }
        if !routes.is_empty() {
            // Ids break the tie between two claims of one place: always the same one wins.
            routes.sort_by(|a, b| b.prefix.len().cmp(&a.prefix.len()).then_with(|| a.id.cmp(&b.id)));
            for pair in routes.windows(2).filter(|pair| pair[0].prefix == pair[1].prefix) {
                tracing::warn!(
                    "routes `{}` and `{}` both claim `{host}{}`; the first one serves",
                    pair[0].id,
                    pair[1].id,
                    pair[0].prefix
                );
            }
            return Some(Site::Routes(routes.into_boxed_slice()));
        }
        let redirect =
            self.redirects.iter().find(|redirect| redirect.hosts.iter().any(|name| name == host))?;
        let (to, status, app) = (redirect.to.as_str().into(), redirect.status, redirect.app.clone());
        Some(Site::Redirect { to, status, stats: self.stats_of(&app) })
    }

    fn apply_certificates(&mut self, patch: &Patch) {
        let replaced = patch.certificates.iter().map(|certificate| certificate.id.as_str());
        for id in patch.removed_certificates.iter().map(String::as_str).chain(replaced) {
            if let Some(former) = self.certificates.remove(id) {
                for host in &former.hosts {
                    self.table.certificates.set(host, None);
                }
            }
        }
        for certificate in &patch.certificates {
            let certificate = Arc::new(certificate.clone());
            let lazy = Arc::new(LazyCertificate::new(Arc::clone(&certificate)));
            for host in &certificate.hosts {
                self.table.certificates.set(host, Some(Arc::clone(&lazy)));
            }
            self.certificates.insert(certificate.id.clone(), certificate);
        }
    }
}

#[cfg(test)]
mod tests;
