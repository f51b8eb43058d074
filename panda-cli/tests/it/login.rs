//! Signing in: by token, by device code, and to a server with an authority of its own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Json};
use axum::routing::{get, post};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use crate::fake::{Fake, User, problem};

fn info(ca: Option<&str>) -> Value {
    json!({ "version": "0.1.0", "claimed": true, "url": "https://panda.localhost", "apps_domain": "localhost", "local_ca": ca })
}

fn account() -> Router {
    let whoami = |headers: HeaderMap| async move {
        if headers.get("authorization").is_some_and(|value| value == "Bearer panda_good") {
            let who = json!({ "user": "usr_1", "email": "ada@example.com", "team": "tea_1", "team_name": "default",
                "role": "owner", "via": "token", "scope": "full" });
            Json(who).into_response()
        } else {
            problem(401, "unauthenticated", "no valid login came with the request")
        }
    };
    Router::new().route("/whoami", get(whoami))
}

#[test]
fn a_token_is_tried_kept_for_this_user_alone_and_forgotten_on_logout() {
    let fake = Fake::start(account().route("/server", get(|| async { Json(info(None)) })));
    let user = User::stranger();
    user.panda(&format!("login --server {} --token panda_bad", fake.url)).ends(4);
    assert!(!user.home().join("logins.toml").exists());
    let ran = user.run(&["login", "--server", &fake.url, "--token", "-"], "panda_good\n");
    ran.ends(0);
    assert!(ran.err.contains("signed in") && ran.err.contains("ada@example.com"), "{}", ran.err);
    let mode = std::fs::metadata(user.home().join("logins.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(user.panda("whoami").ends(0).out, "ada@example.com (owner of team default)\n");
    user.panda("logout").ends(0);
    user.panda("whoami").ends(4);
}

#[test]
fn a_device_login_shows_the_code_and_polls_as_told() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let code = || async {
        Json(
            json!({ "device_code": "secret", "user_code": "BCDF-GHJK", "verification_uri": "https://p/device",
            "verification_uri_complete": "https://p/device?code=BCDF-GHJK", "expires_in": 60, "interval": 1 }),
        )
    };
    let token = move || {
        let polls = Arc::clone(&counted);
        async move {
            if polls.fetch_add(1, Ordering::SeqCst) == 0 {
                return problem(400, "authorization-pending", "nobody approved it yet");
            }
            let token = json!({ "id": "tok_1", "name": "panda", "scope": "full", "owner": "ada@example.com",
                "created_at": "2020-01-01T00:00:00Z", "expires_at": "2030-01-01T00:00:00Z" });
            Json(json!({ "token": token, "secret": "panda_good" })).into_response()
        }
    };
    let routes = account()
        .route("/server", get(|| async { Json(info(None)) }))
        .route("/device/code", post(code))
        .route("/device/token", post(token));
    let fake = Fake::start(routes);
    let user = User::stranger();
    let ran = user.panda(&format!("login --server {}", fake.url));
    ran.ends(0);
    assert!(
        ran.err.contains("https://p/device?code=BCDF-GHJK") && !ran.err.contains("secret"),
        "{}",
        ran.err
    );
    assert_eq!(polls.load(Ordering::SeqCst), 2);
    user.panda("whoami").ends(0);
}

#[test]
fn a_denied_device_login_says_so() {
    let code = || async {
        Json(
            json!({ "device_code": "s", "user_code": "A", "verification_uri": "https://p", "verification_uri_complete": "https://p",
            "expires_in": 60, "interval": 1 }),
        )
    };
    let routes = Router::new()
        .route("/server", get(|| async { Json(info(None)) }))
        .route("/device/code", post(code))
        .route("/device/token", post(|| async { problem(403, "forbidden", "denied") }));
    let fake = Fake::start(routes);
    let ran = User::stranger().panda(&format!("login --server {}", fake.url));
    ran.ends(4);
    assert!(ran.err.contains("was denied"), "{}", ran.err);
}

#[test]
fn an_unclaimed_server_names_its_page() {
    let routes = Router::new().route(
        "/server",
        get(|| async {
            let mut info = info(None);
            info["claimed"] = json!(false);
            Json(info)
        }),
    );
    let fake = Fake::start(routes);
    let ran = User::stranger().panda(&format!("login --server {} --token x", fake.url));
    ran.ends(4);
    assert!(ran.err.contains("no owner yet") && ran.err.contains("https://panda.localhost"), "{}", ran.err);
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = self.listener.accept().await.unwrap();
            // A client that doesn't trust us hangs up here.
            if let Ok(tls) = self.acceptor.accept(stream).await {
                return (tls, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// An authority, and a certificate of it for panda.localhost.
fn authority() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["panda.localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(params, ca_key)).unwrap();
    let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .unwrap();
    (ca.pem(), config)
}

#[test]
fn a_servers_own_authority_is_compared_before_a_token_travels() {
    let (ca, config) = authority();
    let told = ca.clone();
    let routes = account().route("/server", get(move || async move { Json(info(Some(&told))) }));
    let std_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std_listener.set_nonblocking(true).unwrap();
    let url = format!("https://panda.localhost:{}", std_listener.local_addr().unwrap().port());
    let fake = Fake::start_on(url, routes, move |runtime| {
        let _guard = runtime.enter();
        let listener = TcpListener::from_std(std_listener).unwrap();
        Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    });
    let user = User::stranger();
    let login = format!("login --server {} --token panda_good", fake.url);

    let ran = user.panda(&login);
    ran.ends(4);
    assert!(ran.err.contains("--ca-fingerprint"), "{}", ran.err);
    let fingerprint =
        ran.err.split("--ca-fingerprint ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let ran = user.panda(&format!("{login} --ca-fingerprint {}", "00".repeat(32)));
    ran.ends(4);
    assert!(ran.err.contains("another fingerprint"), "{}", ran.err);
    assert!(
        fake.seen().iter().all(|seen| seen.authorization.is_none()),
        "no token before the authority is known"
    );

    user.panda(&format!("{login} --ca-fingerprint {fingerprint}")).ends(0);
    assert_eq!(user.panda("whoami").ends(0).out, "ada@example.com (owner of team default)\n");
}
