//! Ports whose connections are carried as they are: to whom, how long, and what is told of them.

use std::net::SocketAddr;
use std::sync::Arc;

use panda_edge::protocol::{Route, TcpPort};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{DEADLINE, TestEdge, eventually, read_until, route};

/// A server that says its name, then repeats what it hears until the other side has no more to say.
pub(crate) struct Repeater {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Repeater {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Repeater {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = stream.write_all(format!("{name}\n").as_bytes()).await;
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.write_all(b"end\n").await;
                });
            }
        });
        Self { address, task }
    }
}

/// A route to a port; the host of an ordinary one is taken off.
pub(crate) fn tcp_route(id: &str, port: u16, upstreams: &[SocketAddr]) -> Route {
    Route { hosts: Vec::new(), tcp_port: Some(port), ..route(id, "", "/", upstreams) }
}

/// A port that was free a moment ago.
pub(crate) async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// Connects and returns the name of who answers, with the connection.
async fn greeted(port: u16) -> (String, TcpStream) {
    let mut stream = connect(port).await;
    let name = read_until(&mut stream, "\n").await.trim().to_owned();
    (name, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_go_both_ways_and_each_side_ends_by_itself() {
    let (edge, app, port) = (TestEdge::start().await, Repeater::start("one").await, free_port().await);
    edge.put(1, vec![tcp_route("a", port, &[app.address])]).await;
    let (name, mut stream) = greeted(port).await;
    assert_eq!(name, "one");
    let sent = vec![7_u8; 1 << 20];
    let (mut from, mut to) = stream.split();
    let write = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let read = async { from.read_to_end(&mut heard).await.unwrap() };
    tokio::time::timeout(DEADLINE, async { tokio::join!(write, read) }).await.expect("both sides end");
    assert!(heard.starts_with(&sent) && heard.ends_with(b"end\n"), "{} bytes", heard.len());
    let usage = edge.client.usage().await.unwrap();
    assert_eq!(usage.apps[0].bytes_in, 1 << 20);
    assert_eq!((usage.apps[0].answered(), usage.apps[0].aborted), (0, 0), "they are no requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_go_round_and_past_an_instance_that_refuses() {
    let (edge, port) = (TestEdge::start().await, free_port().await);
    let (one, two) = (Repeater::start("one").await, Repeater::start("two").await);
    let gone: SocketAddr = ([127, 0, 0, 1], free_port().await).into();
    edge.put(1, vec![tcp_route("a", port, &[one.address, gone, two.address])]).await;
    let mut names = Vec::new();
    for _ in 0..8 {
        names.push(greeted(port).await.0);
    }
    assert!(names.iter().any(|name| name == "one") && names.iter().any(|name| name == "two"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_leaves_keeps_its_connections_and_gets_no_new_ones() {
    let (edge, port) = (TestEdge::start().await, free_port().await);
    let (old, new) = (Repeater::start("old").await, Repeater::start("new").await);
    edge.put(1, vec![tcp_route("a", port, &[old.address])]).await;
    let (_, mut kept) = greeted(port).await;
    edge.put(2, vec![tcp_route("a", port, &[new.address])]).await;
    assert_eq!(greeted(port).await.0, "new");
    kept.write_all(b"still there\n").await.unwrap();
    assert_eq!(read_until(&mut kept, "\n").await, "still there\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_waits_until_an_instance_comes() {
    let (edge, port) = (TestEdge::start().await, free_port().await);
    edge.put(1, vec![tcp_route("a", port, &[])]).await;
    let waiting = tokio::spawn(greeted(port));
    eventually("it is held", || async { edge.client.status().await.unwrap().held == 1 }).await;
    let app = Repeater::start("late").await;
    edge.put(2, vec![tcp_route("a", port, &[app.address])]).await;
    assert_eq!(waiting.await.unwrap().0, "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_no_route_names_any_more_is_closed() {
    let (edge, app, port) = (TestEdge::start().await, Repeater::start("one").await, free_port().await);
    edge.put(1, vec![tcp_route("a", port, &[app.address])]).await;
    greeted(port).await;
    edge.put(2, vec![]).await;
    eventually("it is closed", || async { TcpStream::connect(("127.0.0.1", port)).await.is_err() }).await;
    assert_eq!(edge.client.status().await.unwrap().tcp_ports, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_held_is_told_with_its_holder_and_had_once_it_is_free() {
    let (edge, app) = (TestEdge::start().await, Repeater::start("one").await);
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (taken, free) = (holder.local_addr().unwrap().port(), free_port().await);
    edge.put(1, vec![tcp_route("a", taken, &[app.address]), tcp_route("b", free, &[app.address])]).await;
    let told = edge.client.status().await.unwrap().tcp_ports;
    let problem = |port: u16| told.iter().find(|told| told.port == port).unwrap().problem.clone();
    let me = format!("(pid {})", std::process::id());
    assert!(problem(taken).is_some_and(|text| text.contains(&me)), "{told:?}");
    assert_eq!((problem(free), greeted(free).await.0.as_str()), (None, "one"), "the other one is served");
    drop(holder);
    let well = TcpPort { port: taken, problem: None };
    eventually("it is had", || async { edge.client.status().await.unwrap().tcp_ports.contains(&well) }).await;
    assert_eq!(greeted(taken).await.0, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_served_from_disk_after_a_start() {
    let (app, port) = (Repeater::start("one").await, free_port().await);
    let edge = TestEdge::start().await;
    edge.put(1, vec![tcp_route("a", port, &[app.address])]).await;
    let folder = Arc::clone(&edge.folder);
    edge.edge.stop().await;
    let _again = TestEdge::start_in(folder, |_| {}).await;
    assert_eq!(greeted(port).await.0, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_either_for_hosts_or_for_a_port() {
    let edge = TestEdge::start().await;
    let both = Route { tcp_port: Some(20_000), ..route("a", "a.test", "/", &[]) };
    let zero = tcp_route("a", 0, &[]);
    for wrong in [both, zero] {
        let snapshot =
            panda_edge::protocol::Snapshot { generation: 1, routes: vec![wrong], ..Default::default() };
        let refused = edge.client.put_snapshot(&snapshot).await.unwrap_err().to_string();
        assert!(refused.contains("port"), "{refused}");
    }
}
