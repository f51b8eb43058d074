use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use panda_edge::local_ca::{LocalCa, LocalCaError};
use panda_edge::protocol::{Certificate, Snapshot};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{TestEdge, Upstream, route};

fn authority(folder: &std::path::Path) -> LocalCa {
    let now = SystemTime::now();
    LocalCa::load_or_create(&folder.join("ca.key"), &folder.join("ca.pem"), "Panda test", now).unwrap()
}

fn certificate(ca: &LocalCa, id: &str, hosts: &[&str]) -> Certificate {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let leaf = ca.issue(&hosts, SystemTime::now()).unwrap();
    Certificate { id: id.into(), hosts, chain_pem: leaf.chain_pem, key_pem: leaf.key_pem }
}

async fn connect(
    edge: &TestEdge,
    ca: &LocalCa,
    name: &str,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(edge.https()).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

async fn edge_with_certificates() -> (TestEdge, LocalCa, Upstream) {
    let (edge, app) = (TestEdge::start().await, Upstream::start("app").await);
    let ca = authority(edge.folder.path());
    let snapshot = Snapshot {
        generation: 1,
        routes: vec![route("a", "*", "/", &[app.address])],
        certificates: vec![
            certificate(&ca, "one", &["one.localhost"]),
            certificate(&ca, "wild", &["*.apps.test"]),
        ],
        ..Snapshot::default()
    };
    edge.client.put_snapshot(&snapshot).await.unwrap();
    (edge, ca, app)
}

#[tokio::test]
async fn the_certificate_follows_the_server_name() {
    let (edge, ca, _app) = edge_with_certificates().await;
    for name in ["one.localhost", "any.apps.test"] {
        let mut stream = connect(&edge, &ca, name, b"http/1.1").await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("x-forwarded-proto: https"), "{answer}");
    }
    let error = connect(&edge, &ca, "two.localhost", b"http/1.1").await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "self-signed by default: {error}");
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_next_handshake_on() {
    let (edge, ca, app) = edge_with_certificates().await;
    assert!(connect(&edge, &ca, "two.localhost", b"http/1.1").await.is_err());
    let snapshot = Snapshot {
        generation: 2,
        routes: vec![route("a", "*", "/", &[app.address])],
        certificates: vec![certificate(&ca, "two", &["two.localhost"])],
        ..Snapshot::default()
    };
    edge.client.put_snapshot(&snapshot).await.unwrap();
    connect(&edge, &ca, "two.localhost", b"http/1.1").await.unwrap();
    assert!(connect(&edge, &ca, "one.localhost", b"http/1.1").await.is_err(), "the removed one is gone");
}

#[tokio::test]
async fn http2_carries_many_requests_at_once_and_ends_with_goaway() {
    let (edge, ca, _app) = edge_with_certificates().await;
    let stream = connect(&edge, &ca, "one.localhost", b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let requests = (0..50).map(|number| {
        let mut sender = sender.clone();
        async move {
            let request = Request::get(format!("https://one.localhost/{number}"))
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .body(Empty::<Bytes>::new())
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(text.contains(&format!("app GET /{number}\n")), "{text}");
            assert!(text.contains("host: one.localhost\n") && text.contains("cookie: a=1; b=2\n"), "{text}");
        }
    });
    futures_util::future::join_all(requests).await;
    edge.edge.stop().await;
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_websocket_goes_through_http2() {
    let (edge, ca, _app) = edge_with_certificates().await;
    let stream = connect(&edge, &ca, "one.localhost", b"h2").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    // The server's settings, which allow it, come with the first answer.
    let first = Request::get("https://one.localhost/").body(Empty::<Bytes>::new()).unwrap();
    sender.send_request(first).await.unwrap().into_body().collect().await.unwrap();
    let mut request = Request::connect("https://one.localhost/socket").body(Empty::<Bytes>::new()).unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut socket = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    socket.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    socket.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");
    drop((socket, sender));
    connection.abort();
}

#[test]
fn the_authority_is_kept_and_half_of_it_is_never_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let first = authority(folder.path());
    assert_eq!(first.certificate_pem(), authority(folder.path()).certificate_pem());
    let key = folder.path().join("ca.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(&key).unwrap();
    let error =
        LocalCa::load_or_create(&key, &folder.path().join("ca.pem"), "x", SystemTime::now()).unwrap_err();
    assert!(matches!(error, LocalCaError::Half { .. }) && error.to_string().contains("ca.key"), "{error}");
}
