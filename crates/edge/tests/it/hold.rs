use std::time::Duration;

use tokio::net::TcpListener;

use crate::support::{TestEdge, Upstream, eventually, get, raw, route};

#[tokio::test]
async fn a_request_is_held_until_an_instance_comes() {
    let edge = TestEdge::start().await;
    edge.put(1, vec![route("a", "a.test", "/", &[])]).await;
    let address = edge.http();
    let held = tokio::spawn(async move { get(address, "a.test", "/x").await });
    eventually("the request is held", || async { edge.client.status().await.unwrap().held == 1 }).await;
    let app = Upstream::start("app").await;
    edge.put(2, vec![route("a", "a.test", "/", &[app.address])]).await;
    let (status, answer) = held.await.unwrap();
    assert!(status == 200 && answer.contains("app GET /x"), "{answer}");
    assert_eq!(edge.client.usage().await.unwrap().apps[0].held_total, 1);
}

#[tokio::test]
async fn a_held_request_is_answered_503_when_its_time_is_over() {
    let edge = TestEdge::start().await;
    let mut empty = route("a", "a.test", "/", &[]);
    empty.options.hold_ms = 50;
    edge.put(1, vec![empty]).await;
    let (status, answer) = get(edge.http(), "a.test", "/").await;
    assert!(status == 503 && answer.contains("retry-after: 2\r\n"), "{answer}");
    assert!(answer.contains("no instance of this app became ready within 50 ms"), "{answer}");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_not_held() {
    let edge = TestEdge::start().await;
    let mut empty = route("a", "a.test", "/", &[]);
    empty.options.hold_limit = 2;
    edge.put(1, vec![empty.clone()]).await;
    let address = edge.http();
    let held: Vec<_> =
        (0..2).map(|_| tokio::spawn(async move { get(address, "a.test", "/").await.0 })).collect();
    eventually("two are held", || async { edge.client.status().await.unwrap().held == 2 }).await;
    let (status, answer) = get(address, "a.test", "/").await;
    assert!(status == 503 && answer.contains("too many requests wait"), "{answer}");
    let app = Upstream::start("app").await;
    edge.put(2, vec![route("a", "a.test", "/", &[app.address])]).await;
    for request in held {
        assert_eq!(request.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let edge = TestEdge::start().await;
    edge.put(1, vec![route("a", "a.test", "/", &[])]).await;
    let address = edge.http();
    let held = tokio::spawn(async move { get(address, "a.test", "/").await });
    eventually("it is held", || async { edge.client.status().await.unwrap().held == 1 }).await;
    held.abort();
    eventually("its place is free", || async { edge.client.status().await.unwrap().held == 0 }).await;
    assert_eq!(edge.client.usage().await.unwrap().apps[0].aborted, 1);
}

#[tokio::test]
async fn an_instance_that_refuses_is_left_out_and_no_request_fails() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("good").await);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    edge.put(1, vec![route("a", "a.test", "/", &[gone, app.address])]).await;
    for _ in 0..20 {
        let (status, answer) = get(edge.http(), "a.test", "/").await;
        assert!(status == 200 && answer.contains("good GET"), "{answer}");
    }
    let status = edge.client.status().await.unwrap();
    assert_eq!(status.ejected.len(), 1);
    assert_eq!(status.ejected[0].address, gone.to_string());
    let usage = edge.client.usage().await.unwrap().apps.remove(0);
    assert!(usage.upstream_errors >= 1 && usage.upstream_errors < 10, "{usage:?}");
}

#[tokio::test]
async fn a_request_waits_while_the_only_instance_restarts() {
    let edge = TestEdge::start().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    edge.put(1, vec![route("a", "a.test", "/", &[gone])]).await;
    let address = edge.http();
    let held = tokio::spawn(async move { get(address, "a.test", "/").await });
    eventually("it is held", || async { edge.client.status().await.unwrap().held == 1 }).await;
    let app = Upstream::on(TcpListener::bind(gone).await.unwrap(), "back");
    let (status, answer) = held.await.unwrap();
    assert!(status == 200 && answer.contains("back GET"), "{answer}");
    drop(app);
}

#[tokio::test]
async fn a_kept_connection_that_the_instance_closed_costs_no_request() {
    let edge = TestEdge::start_with(|config| config.workers = 1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let first = Upstream::on(listener, "first");
    edge.put(1, vec![route("a", "a.test", "/", &[address])]).await;
    for round in 0..10 {
        assert_eq!(get(edge.http(), "a.test", "/").await.0, 200, "round {round}");
    }
    drop(first);
    let mut bound = TcpListener::bind(address).await;
    while bound.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        bound = TcpListener::bind(address).await;
    }
    let second = Upstream::on(bound.unwrap(), "second");
    let (status, answer) = get(edge.http(), "a.test", "/").await;
    assert!(status == 200 && answer.contains("second GET"), "{answer}");
    let post = b"POST /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    assert!(raw(edge.http(), post).await.ends_with("hi"));
    drop(second);
}

#[tokio::test]
async fn an_instance_that_doesn_t_answer_is_given_up_after_its_time() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    let mut quick = route("a", "a.test", "/", &[app.address]);
    quick.options.response_timeout_ms = 50;
    edge.put(1, vec![quick]).await;
    let (status, answer) = get(edge.http(), "a.test", "/never").await;
    assert!(status == 504 && answer.contains("within 50 ms"), "{answer}");
}
