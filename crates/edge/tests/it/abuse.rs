//! Requests that two parties could read differently, and clients that are slow on purpose.

use std::time::Duration;

use crate::support::{TestEdge, Upstream, get, raw, route, status_of};

#[tokio::test]
async fn ambiguous_requests_are_refused_and_the_connection_closed() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let corpus: &[(&str, &str)] = &[
        (
            "CL then TE",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "TE then CL",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        ),
        ("TE gzip", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip\r\n\r\n"),
        (
            "TE gzip, chunked",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "TE twice",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "TE chunked, identity",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "TE with a tab",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        ),
        ("TE in 1.0", "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (
            "CL twice",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        ),
        ("CL signed", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +4\r\n\r\nabcd"),
        ("CL negative", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("host with a space", "GET / HTTP/1.1\r\nHost: a.test b\r\n\r\n"),
        ("host with a user", "GET / HTTP/1.1\r\nHost: me@a.test\r\n\r\n"),
        ("another target", "GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ("folded header", "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\n folded\r\n\r\n"),
        ("space before colon", "GET / HTTP/1.1\r\nHost : a.test\r\n\r\n"),
        ("bare CR in a value", "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: 1\rX-B: 2\r\n\r\n"),
        ("NUL in a value", "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: \0\r\n\r\n"),
        (
            "h2c",
            "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        ),
        ("h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (
            "upgrade with a body",
            "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "upgrade to two",
            "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket, other\r\n\r\n",
        ),
        ("CONNECT", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"),
        ("no version", "GET /\r\n\r\n"),
    ];
    for (name, request) in corpus {
        let answer = raw(edge.http(), format!("{request}{smuggled}").as_bytes()).await;
        let status = status_of(&answer);
        // An empty answer is a connection that was cut at once.
        assert!(matches!(status, 400 | 405 | 0), "{name}: {answer}");
        assert!(!answer.contains("smuggled") && answer.matches("HTTP/1.1 ").count() <= 1, "{name}: {answer}");
    }
    assert_eq!(get(edge.http(), "a.test", "/").await.0, 200);
}

#[tokio::test]
async fn chunks_that_lie_never_reach_another_request() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    for body in ["zz\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "ffffffffffffffffff\r\nabc"] {
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
        );
        let answer = raw(edge.http(), request.as_bytes()).await;
        assert!(!answer.contains("smuggled") && status_of(&answer) != 200, "{body}: {answer}");
    }
}

#[tokio::test]
async fn heads_are_bounded() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    assert_eq!(status_of(&raw(edge.http(), long.as_bytes()).await), 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "X-A: 1\r\n".repeat(200));
    assert_eq!(status_of(&raw(edge.http(), many.as_bytes()).await), 431);
}

#[tokio::test]
async fn a_client_that_dawdles_with_its_head_is_cut() {
    let edge = TestEdge::start_with(|config| config.limits.header_timeout = Duration::from_millis(100)).await;
    let started = std::time::Instant::now();
    let answer = raw(edge.http(), b"GET / HTTP/1.1\r\nHost: a.te").await;
    assert!(answer.is_empty(), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(10), "the sweep cuts it, not the test's deadline");
    // One that sends nothing at all, too.
    assert!(raw(edge.http(), b"").await.is_empty());
}

#[tokio::test]
async fn control_characters_are_escaped_in_the_access_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let target = panda_edge::AccessLogTarget::File { path: path.clone(), limit_bytes: 1 << 20 };
    let (edge, app) =
        (TestEdge::start_with(|config| config.access_log = target).await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let request =
        b"GET /%0a\"\xc2\x9b HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: \"a\tb\r\nConnection: close\r\n\r\n";
    raw(edge.http(), request).await;
    edge.edge.stop().await;
    let log = std::fs::read_to_string(path).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.trim_end().chars().all(|letter| !letter.is_control()), "{log:?}");
    assert!(log.contains(r#""request_id":"\"a\tb""#) && log.contains("\"app\":\"a\""), "{log}");
}
