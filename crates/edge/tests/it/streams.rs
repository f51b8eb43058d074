use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TestEdge, Upstream, eventually, read_until, route};

#[tokio::test]
async fn events_arrive_one_by_one_while_the_request_goes_on() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream
        .write_all(b"POST /events HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    for number in ["one", "two", "six"] {
        stream.write_all(format!("3\r\n{number}\r\n").as_bytes()).await.unwrap();
        // The next part of the request is only sent when this event is here.
        read_until(&mut stream, &format!("data: {number}")).await;
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn a_websocket_carries_bytes_both_ways_until_the_client_leaves() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream
        .write_all(
            b"GET /socket HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .await
        .unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    for text in ["ping", "again"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut echo = vec![0; text.len()];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, text.as_bytes());
    }
    let active = || async { edge.client.usage().await.unwrap().apps[0].active };
    assert_eq!(active().await, 1);
    drop(stream);
    eventually("the connection to the instance ends", || async { active().await == 0 }).await;
}

#[tokio::test]
async fn an_upgrade_ends_at_the_drain_s_limit() {
    let edge = TestEdge::start_with(|config| {
        config.limits.drain_grace = std::time::Duration::ZERO;
        config.limits.drain_limit = std::time::Duration::from_millis(200);
    })
    .await;
    let app = Upstream::start("app").await;
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream
        .write_all(
            b"GET /socket HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await
        .unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    let stopping = tokio::spawn(edge.edge.stop());
    stream.write_all(b"still").await.unwrap();
    read_until(&mut stream, "still").await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_to_the_instance() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.write_all(b"GET /never HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let usage = || async { edge.client.usage().await.unwrap().apps.remove(0) };
    eventually("it is active", || async { usage().await.active == 1 }).await;
    drop(stream);
    eventually("it is gone", || async { usage().await.active == 0 }).await;
    assert_eq!(usage().await.aborted, 1);
}

#[tokio::test]
async fn an_expectation_is_met_before_the_body_is_sent() {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    edge.put(1, vec![route("a", "a.test", "/", &[app.address])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream
        .write_all(
            b"POST /echo HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        )
        .await
        .unwrap();
    read_until(&mut stream, "HTTP/1.1 100").await;
    stream.write_all(b"ok").await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\nok").await.contains("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let edge = TestEdge::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    edge.put(1, vec![route("a", "a.test", "/", &[listener.local_addr().unwrap()])]).await;
    let mut client = TcpStream::connect(edge.http()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let (mut instance, _) = listener.accept().await.unwrap();
    read_until(&mut instance, "\r\n\r\n").await;
    instance.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await.unwrap();
    read_until(&mut client, "half").await;
    drop(instance);
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
    assert_eq!(edge.client.usage().await.unwrap().apps[0].upstream_errors, 1);
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let edge = TestEdge::start_with(|config| config.workers = 1).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    edge.put(1, vec![route("a", "a.test", "/", &[listener.local_addr().unwrap()])]).await;
    let mut client = TcpStream::connect(edge.http()).await.unwrap();
    let mut instance: Option<TcpStream> = None;
    for (method, answer, expected) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 20480\r\n\r\n", "content-length: 20480"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 20480\r\n\r\n",
            "304 Not Modified",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "204 No Content"),
        (
            "GET",
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "200 OK",
        ),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "hi"),
    ] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let stream = match &mut instance {
            Some(stream) => stream,
            // One connection carries them all: a second one is never accepted.
            empty => empty.insert(listener.accept().await.unwrap().0),
        };
        read_until(stream, "\r\n\r\n").await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        let seen = read_until(&mut client, expected).await;
        assert!(!seen.contains("103"), "{seen}");
    }
}
