use panda_edge::protocol::{Challenge, Redirect, RouteKind, Snapshot, UpstreamAddress};

use crate::support::{TestEdge, Upstream, get, get_with, raw, route};

#[tokio::test]
async fn host_and_longest_prefix_decide_who_answers() {
    let (edge, all, api) =
        (TestEdge::start().await, Upstream::start("all").await, Upstream::start("api").await);
    edge.put(
        1,
        vec![
            route("all", "a.test", "/", &[all.address]),
            route("api", "a.test", "/api", &[api.address]),
            route("wild", "*.apps.test", "/", &[api.address]),
        ],
    )
    .await;
    for (host, path, name) in [
        ("a.test", "/", "all GET /"),
        ("A.TEST:8080", "/x?y=1", "all GET /x?y=1"),
        ("a.test.", "/apix", "all GET /apix"),
        ("a.test", "/api", "api GET /api"),
        ("a.test", "/api/v1", "api GET /api/v1"),
        ("any.apps.test", "/", "api GET /"),
    ] {
        let (status, answer) = get(edge.http(), host, path).await;
        assert!(status == 200 && answer.contains(name), "{host}{path}: {answer}");
    }
    let (status, answer) = get(edge.http(), "b.test", "/").await;
    assert_eq!(status, 404);
    assert!(answer.contains("No app answers here") && answer.contains("b.test"), "{answer}");
}

#[tokio::test]
async fn headers_of_one_hop_end_there_and_the_client_cannot_say_where_it_is() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let headers = "Connection: x-drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: b\r\nTE: gzip\r\n\
                   X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
                   Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Keep: kept\r\nAuthorization: me\r\n";
    let (status, answer) = get_with(edge.http(), "a.test:81", "/", headers).await;
    assert_eq!(status, 200);
    let seen = answer.split("\r\n\r\n").nth(1).unwrap();
    for absent in ["x-drop", "keep-alive", "proxy-auth", "te:", "6.6.6.6", "evil", "forwarded:", "connection"]
    {
        assert!(!seen.contains(absent), "`{absent}` in {seen}");
    }
    for present in [
        "host: a.test:81\n",
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-proto: http\n",
        "x-forwarded-host: a.test:81\n",
        "x-keep: kept\n",
        "authorization: me\n",
        "x-request-id: ",
    ] {
        assert!(seen.contains(present), "`{present}` not in {seen}");
    }
    let (_, answer) = get(edge.http(), "a.test", "/inner").await;
    assert!(!answer.contains("x-inner") && !answer.contains("keep-alive"), "{answer}");
}

#[tokio::test]
async fn a_trusted_proxy_in_front_is_believed() {
    let edge =
        TestEdge::start_with(|config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let app = Upstream::start("app").await;
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let headers = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n";
    let (_, answer) = get_with(edge.http(), "a.test", "/", headers).await;
    assert!(answer.contains("x-forwarded-for: 6.6.6.6, 127.0.0.1\nx-forwarded"), "{answer}");
    assert_eq!(answer.matches("x-forwarded-proto: https").count(), 1, "{answer}");
}

#[tokio::test]
async fn challenges_are_answered_by_the_edge_and_never_by_an_app() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    let mut https_only = route("a", "a.test", "/", &[app.address]);
    https_only.options.force_https = true;
    let snapshot = Snapshot {
        generation: 1,
        routes: vec![https_only, route("b", "b.test", "/.well-known", &[app.address])],
        challenges: vec![Challenge {
            host: "a.test".into(),
            token: "tok-1".into(),
            key_authorization: "tok-1.key".into(),
        }],
        ..Snapshot::default()
    };
    edge.client.put_snapshot(&snapshot).await.unwrap();
    let path = "/.well-known/acme-challenge/tok-1";
    let (status, answer) = get(edge.http(), "a.test", path).await;
    assert!(status == 200 && answer.ends_with("tok-1.key"), "{answer}");
    let (status, _) = get(edge.http(), "b.test", path).await;
    assert_eq!(status, 404, "another host's challenge, and not the app's answer");
}

#[tokio::test]
async fn plain_http_is_sent_to_https_and_a_redirect_keeps_path_and_query() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    let mut secure = route("a", "a.test", "/", &[app.address]);
    secure.options.force_https = true;
    let www = Redirect {
        id: "www".into(),
        app: "a".into(),
        hosts: vec!["www.a.test".into()],
        to: "https://a.test".into(),
        status: 308,
    };
    let snapshot =
        Snapshot { generation: 1, routes: vec![secure], redirects: vec![www], ..Snapshot::default() };
    edge.client.put_snapshot(&snapshot).await.unwrap();
    let (status, answer) = get(edge.http(), "a.test", "/x?y=1").await;
    let expected = format!("location: https://a.test:{}/x?y=1\r\n", edge.https().port());
    assert!(status == 308 && answer.contains(&expected), "{answer}");
    let (status, answer) = get(edge.http(), "www.a.test", "/x?y=1").await;
    assert!(status == 308 && answer.contains("location: https://a.test/x?y=1\r\n"), "{answer}");
}

#[tokio::test]
async fn the_platform_answers_on_a_unix_socket_and_no_app_takes_its_host() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    let path = edge.folder.path().join("api.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        crate::support::read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nplatform").await.unwrap();
    });
    let mut platform = route("p", "panda.test", "/", &[app.address]);
    platform.kind = RouteKind::Platform;
    platform.upstreams[0].address = UpstreamAddress::Unix(path);
    edge.put(1, vec![platform, route("a", "panda.test", "/login", &[app.address])]).await;
    let (status, answer) = get(edge.http(), "panda.test", "/login").await;
    assert!(status == 200 && answer.ends_with("platform"), "{answer}");
    server.await.unwrap();
}

#[tokio::test]
async fn bodies_pass_both_ways_and_too_large_ones_are_refused() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    let mut small = route("a", "a.test", "/", &[app.address]);
    small.options.body_limit_bytes = 300_000;
    edge.put(1, vec![small]).await;
    let body = "x".repeat(300_000);
    let post = |framing: &str, body: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{framing}\r\n\r\n{body}")
    };
    let answer = raw(edge.http(), post("Content-Length: 300000", &body).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&body));
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let answer = raw(edge.http(), post("Transfer-Encoding: chunked", &chunked).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&body));
    let answer = raw(edge.http(), post("Content-Length: 300001", "").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let chunked = format!("{:x}\r\n{body}x\r\n0\r\n\r\n", body.len() + 1);
    let answer = raw(edge.http(), post("Transfer-Encoding: chunked", &chunked).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{}", &answer[..100.min(answer.len())]);
}

#[tokio::test]
async fn connections_to_an_instance_are_used_again() {
    let (edge, app) = (TestEdge::start_with(|config| config.workers = 1).await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    for _ in 0..20 {
        assert_eq!(get(edge.http(), "a.test", "/").await.0, 200);
    }
    assert_eq!(app.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}
