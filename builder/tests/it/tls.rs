//! Mutual TLS to a daemon that listens on TCP.

use std::fs;

use panda_builder::build::Builder;
use panda_builder::buildkit::{BuildkitConfig, BuildkitTls, Buildkitd};
use panda_test_support::spare_builder::{SHARED, SpareBuilder};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::ground::{Ground, app, printed};

/// The name in the daemon's certificate.
const NAME: &str = "buildkitd.test";
const PORT: u16 = 1234;

/// An authority that signs for both sides.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Returns a certificate and its key, PEM.
    fn sign(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Returns what a client that this authority vouches for needs.
    fn client(&self) -> BuildkitTls {
        let (certificate, key) = self.sign("panda-server", ExtendedKeyUsagePurpose::ClientAuth);
        BuildkitTls {
            authority: self.pem.clone().into_bytes(),
            certificate: certificate.into_bytes(),
            key: key.into_bytes(),
            server_name: NAME.to_owned(),
        }
    }

    /// Starts a daemon on TCP that lets in only whom this authority vouches for; returns its address.
    fn serve(&self, spare: &SpareBuilder) -> String {
        let (certificate, key) = self.sign(NAME, ExtendedKeyUsagePurpose::ServerAuth);
        for (file, text) in [("ca.pem", &self.pem), ("cert.pem", &certificate), ("key.pem", &key)] {
            fs::write(spare.shared().join(file), text).unwrap();
        }
        let path = |file: &str| format!("{SHARED}/{file}");
        let (socket, tcp) = (format!("unix://{}", path("buildkitd.sock")), format!("tcp://0.0.0.0:{PORT}"));
        let (ca, certificate, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
        let tls = ["--tlscacert", &ca, "--tlscert", &certificate, "--tlskey", &key];
        spare.start(&[&["--addr", &socket, "--addr", &tcp], &tls[..]].concat()).unwrap();
        format!("tcp://{}:{PORT}", spare.ip().unwrap())
    }
}

#[tokio::test]
async fn a_daemon_on_tcp_builds_for_those_it_knows_and_both_sides_refuse_strangers() {
    let Some(spare) = SpareBuilder::prepare("tls").unwrap() else { return };
    let (ours, foreign) = (Authority::new(), Authority::new());
    let address = ours.serve(&spare);
    let config = |tls: Option<BuildkitTls>| BuildkitConfig { address: address.clone(), tls };

    let Some(ground) = Ground::at(&config(Some(ours.client()))) else { return };
    assert!(ground.builder.daemon().version().await.unwrap().starts_with('v'));
    let mut request =
        ground.request(&app("hello-node"), "FROM node:22-slim\nCOPY . /app\nRUN echo over TLS\n");
    request.use_cache = false;
    let (result, events) = ground.build(request).await;
    assert!(result.unwrap().sent_files > 0);
    assert_eq!(printed(&events), ["over TLS"]);

    let stranger = BuildkitTls { authority: ours.pem.clone().into_bytes(), ..foreign.client() };
    let other_daemon = BuildkitTls { authority: foreign.pem.clone().into_bytes(), ..ours.client() };
    let other_name = BuildkitTls { server_name: "somebody.test".to_owned(), ..ours.client() };
    for (who, tls) in [
        ("a client of another authority", Some(stranger)),
        ("a daemon of another authority", Some(other_daemon)),
        ("a daemon of another name", Some(other_name)),
        ("no TLS at all", None),
    ] {
        let answer = Buildkitd::new(&config(tls)).unwrap().version().await;
        assert!(answer.is_err(), "{who}: {answer:?}");
        println!("{who}: {:?}", answer.unwrap_err());
    }
}

#[tokio::test]
async fn certificates_that_are_none_are_refused_before_anything_is_sent() {
    let tls = BuildkitTls { certificate: b"none".to_vec(), ..Authority::new().client() };
    let config = BuildkitConfig { address: format!("tcp://127.0.0.1:{PORT}"), tls: Some(tls) };
    let refused = Builder::new(&config, None).err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), Some("set up TLS for BuildKit at `tcp://127.0.0.1:1234`"));
}
