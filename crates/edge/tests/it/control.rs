use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use panda_edge::client::ClientError;
use panda_edge::protocol::{Certificate, KeyPem, Outline, Patch, Snapshot};

use crate::support::{TestEdge, Upstream, get, route};

fn snapshot(generation: u64, routes: Vec<panda_edge::protocol::Route>) -> Snapshot {
    Snapshot { generation, routes, ..Snapshot::default() }
}

#[tokio::test]
async fn an_older_generation_is_refused_and_the_same_one_is_taken_again() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    let newest = snapshot(5, vec![route("a", "a.test", "/", &[app.address])]);
    for _ in 0..2 {
        assert_eq!(edge.client.put_snapshot(&newest).await.unwrap().generation, 5);
    }
    let error = edge.client.put_snapshot(&snapshot(4, vec![])).await.unwrap_err();
    assert!(matches!(error, ClientError::StaleGeneration { current: 5 }), "{error:?}");
    assert_eq!(get(edge.http(), "a.test", "/").await.0, 200);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_a_gap_is_filled_by_a_whole_snapshot() {
    let (edge, one, two) =
        (TestEdge::start().await, Upstream::start("one").await, Upstream::start("two").await);
    let first = snapshot(
        1,
        vec![route("a", "a.test", "/", &[one.address]), route("b", "b.test", "/", &[one.address])],
    );
    let second = snapshot(
        2,
        vec![route("a", "a.test", "/", &[two.address]), route("b", "b.test", "/", &[one.address])],
    );
    let third = snapshot(3, vec![route("b", "b.test", "/", &[two.address])]);
    edge.client.advance(None, &first).await.unwrap();
    edge.client.advance(Some(&Outline::of(&first)), &second).await.unwrap();
    assert!(get(edge.http(), "a.test", "/").await.1.contains("two GET"));
    assert!(get(edge.http(), "b.test", "/").await.1.contains("one GET"));
    let gap = edge.client.patch(&Patch::between(&Outline::of(&first), &third)).await.unwrap_err();
    assert!(matches!(gap, ClientError::GenerationGap { current: 2 }), "{gap:?}");
    edge.client.advance(Some(&Outline::of(&first)), &third).await.unwrap();
    assert_eq!(get(edge.http(), "a.test", "/").await.0, 404);
    assert!(get(edge.http(), "b.test", "/").await.1.contains("two GET"));
}

#[tokio::test]
async fn a_wrong_change_is_refused_by_name_and_keeps_what_is_served() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let mut wrong = snapshot(2, vec![]);
    wrong.certificates.push(Certificate {
        id: "c1".into(),
        hosts: vec!["a.test".into()],
        chain_pem: "no certificate".into(),
        key_pem: KeyPem::new("no key"),
    });
    let error = edge.client.put_snapshot(&wrong).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused(_)) && error.to_string().contains("certificate `c1`"),
        "{error}"
    );
    assert!(!error.is_transient());
    assert_eq!(edge.client.generation().await.unwrap(), 1);
    assert_eq!(get(edge.http(), "a.test", "/").await.0, 200);
}

#[tokio::test]
async fn a_restart_serves_what_was_acknowledged_with_nobody_to_ask() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    let first = snapshot(1, vec![route("a", "a.test", "/", &[app.address])]);
    edge.client.advance(None, &first).await.unwrap();
    let second = snapshot(2, vec![route("b", "b.test", "/", &[app.address])]);
    edge.client.advance(Some(&Outline::of(&first)), &second).await.unwrap();
    let folder = Arc::clone(&edge.folder);
    edge.edge.stop().await;
    assert!(!folder.path().join("edge.sock").exists(), "its own socket is removed");
    let again = TestEdge::start_in(folder, |_| {}).await;
    assert_eq!(get(again.http(), "b.test", "/").await.0, 200);
    assert_eq!(get(again.http(), "a.test", "/").await.0, 404);
    assert_eq!(again.edge.generation(), 2);
}

#[tokio::test]
async fn a_corrupt_snapshot_is_named_and_the_one_before_is_served() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    edge.put(2, vec![route("b", "b.test", "/", &[app.address])]).await;
    let (folder, file) = (Arc::clone(&edge.folder), edge.state().join("snapshot.json"));
    edge.edge.stop().await;
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    let again = TestEdge::start_in(folder, |_| {}).await;
    assert_eq!(get(again.http(), "a.test", "/").await.0, 200);
    let warnings = again.client.status().await.unwrap().warnings;
    assert!(warnings[0].contains("snapshot.json") && warnings[0].contains("corrupt"), "{warnings:?}");
    again.put(3, vec![route("b", "b.test", "/", &[app.address])]).await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_the_next_change_heals_it() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    let first = snapshot(1, vec![route("a", "a.test", "/", &[app.address])]);
    edge.client.advance(None, &first).await.unwrap();
    let (state, aside) = (edge.state(), edge.folder.path().join("aside"));
    std::fs::rename(&state, &aside).unwrap();
    let second = snapshot(2, vec![route("b", "b.test", "/", &[app.address])]);
    let error = edge.client.advance(Some(&Outline::of(&first)), &second).await.unwrap_err();
    assert!(matches!(error, ClientError::NotPersisted(_)) && error.is_transient(), "{error:?}");
    assert_eq!(get(edge.http(), "b.test", "/").await.0, 200, "in effect all the same");
    assert_eq!(edge.client.status().await.unwrap().persisted_generation, 1);
    std::fs::rename(&aside, &state).unwrap();
    edge.client.advance(Some(&Outline::of(&first)), &second).await.unwrap();
    assert_eq!(edge.client.status().await.unwrap().persisted_generation, 2);
}

#[tokio::test]
async fn only_the_owner_reaches_the_control_socket_and_the_state() {
    let edge = TestEdge::start().await;
    edge.put(1, vec![]).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&edge.folder.path().join("edge.sock")), 0o600);
    assert_eq!(mode(&edge.state()), 0o700);
    assert_eq!(mode(&edge.state().join("snapshot.json")), 0o600);
}

#[tokio::test]
async fn metrics_count_requests_by_app_and_status() {
    let any = Some("127.0.0.1:0".parse().unwrap());
    let (edge, app) =
        (TestEdge::start_with(|config| config.metrics = any).await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    for _ in 0..3 {
        get(edge.http(), "a.test", "/").await;
    }
    let text = edge.client.metrics().await.unwrap();
    assert!(text.contains("panda_edge_requests_total{app=\"a\",status=\"2xx\"} 3\n"), "{text}");
    assert!(text.contains("panda_edge_response_seconds_count{app=\"a\"} 3\n"), "{text}");
    get(edge.http(), "nobody.test", "/").await;
    assert_eq!(edge.client.status().await.unwrap().unrouted, 1);
    let metrics = edge.edge.listening().metrics.unwrap();
    assert!(get(metrics, "m", "/metrics").await.1.contains("panda_edge_requests_total"));
    assert_eq!(get(metrics, "m", "/v1/status").await.0, 404, "nothing else over TCP");
}
