use super::*;
use crate::protocol::{RouteOptions, Upstream};

fn route(id: &str, host: &str, prefix: &str, upstreams: &[&str]) -> Route {
    Route {
        id: id.to_owned(),
        app: format!("app-{id}"),
        process: "web".to_owned(),
        hosts: vec![host.to_owned()],
        tcp_port: None,
        path_prefix: prefix.to_owned(),
        kind: RouteKind::App,
        upstreams: upstreams
            .iter()
            .map(|name| Upstream { id: (*name).to_owned(), address: "127.0.0.1:9".parse().unwrap() })
            .collect(),
        options: RouteOptions::default(),
    }
}

fn snapshot(generation: u64, routes: Vec<Route>) -> Snapshot {
    Snapshot { generation, routes, ..Snapshot::default() }
}

fn put(registry: &mut Registry, next: Snapshot) {
    let patch = registry.patch_to(next);
    registry.apply(&patch).unwrap();
}

fn found(registry: &Registry, host: &str, path: &str) -> Option<String> {
    Some(registry.table.sites.find(host)?.route(path)?.id.to_string())
}

#[test]
fn longest_prefix_serves_and_a_removed_one_falls_back() {
    let mut registry = Registry::new(1);
    let (all, api) = (route("all", "a.test", "/", &[]), route("api", "a.test", "/api", &[]));
    put(&mut registry, snapshot(1, vec![all.clone(), api]));
    assert_eq!(found(&registry, "a.test", "/api/x").as_deref(), Some("api"));
    assert_eq!(found(&registry, "a.test", "/apix").as_deref(), Some("all"));
    put(&mut registry, snapshot(2, vec![all]));
    assert_eq!(found(&registry, "a.test", "/api/x").as_deref(), Some("all"));
    put(&mut registry, snapshot(3, vec![]));
    assert_eq!(found(&registry, "a.test", "/"), None);
    assert_eq!(registry.stats().len(), 0, "counters of apps without routes are dropped");
}

#[test]
fn an_app_cannot_take_over_a_host_of_the_platform() {
    let mut registry = Registry::new(1);
    let mut platform = route("platform", "panda.test", "/", &[]);
    platform.kind = RouteKind::Platform;
    put(&mut registry, snapshot(1, vec![route("a", "panda.test", "/login", &[]), platform]));
    assert_eq!(found(&registry, "panda.test", "/login").as_deref(), Some("platform"));
}

#[test]
fn an_instance_that_stays_keeps_its_record_and_one_that_goes_is_retired() {
    let mut registry = Registry::new(1);
    put(&mut registry, snapshot(1, vec![route("a", "a.test", "/", &["one", "two"])]));
    let before: Vec<_> = registry.instances().cloned().collect();
    put(&mut registry, snapshot(2, vec![route("a", "a.test", "/", &["two", "three"])]));
    let after: Vec<_> = registry.instances().cloned().collect();
    assert!(before[0].is_retired() && !before[1].is_retired());
    assert_eq!(before[1].uid, after[0].uid);
}

#[test]
fn a_change_with_one_wrong_part_changes_nothing() {
    let mut registry = Registry::new(1);
    put(&mut registry, snapshot(1, vec![route("a", "a.test", "/", &[])]));
    for wrong in [
        route("b", "Upper.test", "/", &[]),
        route("b", "b.test:80", "/", &[]),
        route("b", "", "/", &[]),
        route("b", "b.test", "api", &[]),
        route("b", "b.test", "/a b", &[]),
    ] {
        let patch = registry.patch_to(snapshot(2, vec![route("c", "c.test", "/", &[]), wrong.clone()]));
        let error = registry.apply(&patch).unwrap_err();
        assert!(error.to_string().starts_with("route `b`"), "{error}");
        assert_eq!(found(&registry, "a.test", "/").as_deref(), Some("a"));
        assert_eq!((registry.generation(), found(&registry, "c.test", "/")), (1, None));
    }
}

#[test]
fn what_is_kept_leads_to_the_same_table_again() {
    let mut registry = Registry::new(1);
    let mut first = snapshot(7, vec![route("a", "a.test", "/", &["one"]), route("b", "*.b.test", "/", &[])]);
    first.redirects = vec![Redirect {
        id: "www".into(),
        app: "app-a".into(),
        hosts: vec!["www.a.test".into()],
        to: "https://a.test".into(),
        status: 308,
    }];
    put(&mut registry, first.clone());
    assert_eq!(registry.snapshot(), first);
    let nothing = registry.patch_to(first);
    assert!(nothing.routes.is_empty() && nothing.removed_routes.is_empty() && nothing.redirects.is_none());
}
