//! Certificates that people give: what is refused and why, whose they are, and that no key ever comes back.

use panda_test_support::panda::{Answer, Client, TestPanda};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::json;

const CERTIFICATES: &str = "/api/v1/apps/shop/certificates";
const WWW: &str = "www.ann.example";

/// A leaf of this name, RSA with 1,024 bits until 2126; its key was thrown away.
const WEAK: &str = "\
-----BEGIN CERTIFICATE-----
MIICFTCCAX6gAwIBAgIUehFgDZRQOn/jrf9xHhbDguoFQk8wDQYJKoZIhvcNAQEL
BQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjExMjUyMzUyNTZaGA8yMTI2MTEwMTIz
NTI1NlowDzENMAsGA1UEAwwEd2VhazCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkC
gYEAqHqPv4dJs921pAqn2dLuMs+xYOdBl4efW1EhMQNTMqCx+wh44fMkDk5cC5iD
jv+/TD8t2ZRFt53wPPfH9BcEM1Ndxls7U6wBTkZxezclHNikb5IXUwANo/LC4UMs
7Oy1wj3XV0KVp03pbpURP9nBWTPvnXFjrYGcICwH+JJc6gECAwEAAaNsMGowHQYD
VR0OBBYEFM/GJPzDyNIGp8V368NzSEqJh2fCMB8GA1UdIwQYMBaAFM/GJPzDyNIG
p8V368NzSEqJh2fCMAwGA1UdEwEB/wQCMAAwGgYDVR0RBBMwEYIPd3d3LmFubi5l
eGFtcGxlMA0GCSqGSIb3DQEBCwUAA4GBAFSCfkBhg4hbtYoSWdjeEjj7S1mMYHE3
Zo0fIa8MqfT7V19C7ndXyUk+v97hhMpCD5aIPheSUVtEIguzB4IpGYK0bxQR5Fhl
hKzmO/PkQ1QcnTlrbY5bjzlxs55GpFJFKXcJdDGr+nnMwRXkNYyuFft9MbADDjNF
DuSO+cqMnkDQ
-----END CERTIFICATE-----
";

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A chain with its key.
#[derive(Clone)]
struct Bundle {
    chain: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Ann's authority");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    fn issue(&self, names: &[&str]) -> Bundle {
        self.issue_with(names, &rcgen::PKCS_ECDSA_P256_SHA256, |_| ())
    }

    fn issue_with(
        &self,
        names: &[&str],
        kind: &'static rcgen::SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Bundle {
        let key = KeyPair::generate_for(kind).expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_after = rcgen::date_time_ymd(2031, 1, 1);
        change(&mut params);
        let leaf = params.signed_by(&key, &self.0).expect("a leaf");
        Bundle { chain: format!("{}{}", leaf.pem(), self.0.pem()), key: key.serialize_pem() }
    }
}

/// Ann's app with these proven domains.
async fn with_domains(hosts: &[&str]) -> (TestPanda, Client) {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    for host in hosts {
        prove(&panda, &ann, "shop", host).await;
    }
    (panda, ann)
}

async fn prove(panda: &TestPanda, owner: &Client, app: &str, host: &str) {
    let domains = format!("/api/v1/apps/{app}/domains");
    let added = owner.post(&domains, json!({ "host": host })).await;
    let records = added.json["records"].as_array().expect("records");
    let proof = records.iter().find(|record| record["kind"] == "TXT").expect("one is the proof");
    panda.dns.set_txt(&format!("_panda-challenge.{host}"), proof["expected"].as_str().expect("text"));
    let proven = owner.post(&format!("{domains}/{host}/verify"), json!({})).await;
    assert_eq!(proven.json["verified"], true, "{}", proven.text);
}

async fn give(who: &Client, app: &str, host: &str, bundle: &Bundle) -> Answer {
    let body = json!({ "host": host, "chain_pem": bundle.chain, "key_pem": bundle.key });
    who.post(&format!("/api/v1/apps/{app}/certificates"), body).await
}

/// Returns the row's state and what is kept as its key.
async fn kept(panda: &TestPanda, host: &str) -> Option<(serde_json::Value, String)> {
    let mut tx = panda.platform.store.read().await.expect("read");
    let row = tx.certificate(host).await.expect("look")?;
    let key = row.key.map(|key| key.reveal().to_owned()).unwrap_or_default();
    Some((serde_json::to_value(row.state).expect("a state"), key))
}

async fn given_for(client: &Client) -> Vec<(String, serde_json::Value)> {
    let list = client.get(CERTIFICATES).await;
    let items = list.json["items"].as_array().expect("items").clone();
    items
        .into_iter()
        .map(|one| (one["host"].as_str().expect("a host").to_owned(), one["domains"].clone()))
        .collect()
}

#[tokio::test]
async fn a_certificate_that_fits_is_kept_and_its_key_never_comes_back() {
    let (panda, ann) = with_domains(&[WWW]).await;
    let bundle = Authority::new().issue(&[WWW]);
    let given = give(&ann, "shop", "WWW.ann.example", &bundle).await;
    assert_eq!(given.status, 201, "{}", given.text);
    assert_eq!(
        (&given.json["host"], &given.json["names"], &given.json["key_kind"], &given.json["chain_length"]),
        (&json!(WWW), &json!([WWW]), &json!("P-256"), &json!(2))
    );
    assert_eq!(given.json["not_after"], "2031-01-01T00:00:00Z");
    let (state, key) = kept(&panda, WWW).await.expect("it is kept");
    assert_eq!((&state["state"], key.trim()), (&json!("own"), bundle.key.replace("\r\n", "\n").trim()));

    let secret = bundle.key.lines().nth(1).expect("a key has lines").to_owned();
    for path in [
        CERTIFICATES.to_owned(),
        format!("{CERTIFICATES}/{WWW}"),
        "/api/v1/apps/shop/domains".to_owned(),
        "/api/v1/apps/shop/status".to_owned(),
        "/api/v1/apps/shop/events".to_owned(),
        "/api/v1/events".to_owned(),
        "/api/v1/apps/shop/manifest".to_owned(),
        "/api/v1/apps/shop".to_owned(),
    ] {
        let answer = ann.get(&path).await;
        assert!(!answer.text.contains("PRIVATE KEY") && !answer.text.contains(secret.trim()), "{path}");
    }
    let dump = panda.dump().await;
    assert!(!dump.contains("PRIVATE KEY") && !dump.contains(secret.trim()), "it is sealed");
    let domains = ann.get("/api/v1/apps/shop/domains").await;
    assert_eq!(domains.json["items"][1]["certificate"], "own", "{}", domains.text);
    assert_eq!(ann.get("/api/v1/apps/shop/events").await.json["items"][0]["kind"], "certificate.added");
}

#[tokio::test]
async fn what_browsers_would_not_take_is_refused_with_the_reason_and_the_fix() {
    let (panda, ann) = with_domains(&[WWW]).await;
    let authority = Authority::new();
    let good = authority.issue(&[WWW]);
    let with_chain = |chain: String| Bundle { chain, ..good.clone() };
    let with_key = |key: &str| Bundle { key: key.to_owned(), ..good.clone() };
    let issue = |kind, change: fn(&mut CertificateParams)| authority.issue_with(&[WWW], kind, change);
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    let (leaf, root) = good.chain.split_at(good.chain[1..].find("-----BEGIN").expect("two") + 1);
    let foreign = Authority::new();
    let cases = [
        (with_key(&authority.issue(&[WWW]).key), "key_pem", "doesn't belong"),
        (with_key("nothing"), "key_pem", "no readable PEM"),
        (with_key(leaf), "key_pem", "is a certificate"),
        (with_key("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "key_pem", "passphrase"),
        (with_key(&"x".repeat(17 << 10)), "key_pem", "longer than 16 KiB"),
        (with_chain("nothing".into()), "chain_pem", "BEGIN CERTIFICATE"),
        (with_chain("x".repeat(65 << 10)), "chain_pem", "longer than 64 KiB"),
        (with_chain(format!("{leaf}{}", good.key)), "chain_pem", "has a private key"),
        (with_chain(format!("{root}{leaf}")), "chain_pem", "an authority's"),
        (with_chain(format!("{leaf}{}", foreign.0.pem())), "chain_pem", "isn't signed by certificate 2"),
        (with_chain(leaf.repeat(11)), "chain_pem", "at most 10"),
        (with_chain(WEAK.to_owned()), "chain_pem", "RSA 1024"),
        (authority.issue(&["mail.ann.example"]), "chain_pem", "is for mail.ann.example"),
        (authority.issue(&["*.www.ann.example"]), "chain_pem", "not for `www.ann.example`"),
        (authority.issue(&[]), "chain_pem", "is for no host"),
        (issue(p256, |p| p.not_after = rcgen::date_time_ymd(2029, 12, 31)), "chain_pem", "ended 2029-12-31"),
        (issue(p256, |p| p.not_before = rcgen::date_time_ymd(2030, 6, 1)), "chain_pem", "before 2030-06-01"),
        (
            issue(p256, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            "chain_pem",
            "isn't for servers",
        ),
        (issue(&rcgen::PKCS_ED25519, |_| ()), "chain_pem", "Ed25519"),
        (issue(&rcgen::PKCS_ECDSA_P521_SHA512, |_| ()), "chain_pem", "P-521"),
    ];
    for (bundle, field, why) in cases {
        let refused = give(&ann, "shop", WWW, &bundle).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid-request"), "{why}: {}", refused.text);
        assert_eq!(refused.json["errors"][0]["field"], field, "{why}: {}", refused.text);
        let detail = refused.json["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(why), "{why}: {detail}");
        assert!(refused.json["hint"].is_string(), "{why}: what to do? {}", refused.text);
        assert!(!refused.text.contains("PRIVATE KEY-----\n"), "{why}");
    }
    assert!(kept(&panda, WWW).await.is_none(), "nothing was kept");
}

#[tokio::test]
async fn keys_of_every_common_kind_and_form_are_taken() {
    let (panda, ann) = with_domains(&[WWW]).await;
    let authority = Authority::new();
    for (kind, word, label) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "P-256", "EC PRIVATE KEY"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "P-384", "EC PRIVATE KEY"),
        (&rcgen::PKCS_RSA_SHA256, "RSA 2048", "RSA PRIVATE KEY"),
    ] {
        let bundle = authority.issue_with(&[WWW], kind, |_| ());
        let given = give(&ann, "shop", WWW, &bundle).await;
        assert_eq!((given.status, &given.json["key_kind"]), (201, &json!(word)), "{}", given.text);
        let key = in_its_older_form(&bundle.key, label);
        let given = give(&ann, "shop", WWW, &Bundle { key, ..bundle }).await;
        assert_eq!(given.status, 201, "{label}: {}", given.text);
        let (_, key) = kept(&panda, WWW).await.expect("it is kept");
        assert!(key.starts_with(&format!("-----BEGIN {label}-----")), "{word}");
    }
}

/// Takes SEC1 or PKCS#1 out of PKCS#8, of which it is the last of three parts; with the parameters that OpenSSL puts before it.
fn in_its_older_form(pkcs8: &str, label: &str) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let text: String = pkcs8.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let der = base64.decode(text).expect("base64");
    let all = content(&der);
    let after_version = &all[whole(all)..];
    let inner = content(&after_version[whole(after_version)..]);
    let before = if label.starts_with("EC") {
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    } else {
        ""
    };
    format!("{before}-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64.encode(inner))
}

/// Returns the content of the first part of some DER.
fn content(der: &[u8]) -> &[u8] {
    let (head, length) = measure(der);
    &der[head..head + length]
}

fn whole(der: &[u8]) -> usize {
    let (head, length) = measure(der);
    head + length
}

fn measure(der: &[u8]) -> (usize, usize) {
    match der[1] {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            let length = der[2..2 + count].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (2 + count, length)
        }
    }
}

#[tokio::test]
async fn only_a_proven_domain_of_the_app_gets_a_certificate() {
    let (panda, ann) = with_domains(&[WWW]).await;
    let bob = panda.other_team("bob@example.org").await;
    bob.post("/api/v1/apps", json!({ "name": "trap" })).await;
    let authority = Authority::new();
    let bundle = authority.issue(&[WWW, "*.ann.example", "next.ann.example"]);
    for (who, app, host) in [
        (&bob, "shop", WWW),
        (&bob, "trap", WWW),
        (&bob, "trap", "*.ann.example"),
        (&ann, "shop", "other.example"),
        (&ann, "shop", "*.other.example"),
        (&ann, "shop", "panda.example.com"),
    ] {
        let refused = give(who, app, host, &bundle).await;
        assert_eq!((refused.status, refused.code()), (404, "not-found"), "{host}: {}", refused.text);
    }
    ann.post("/api/v1/apps/shop/domains", json!({ "host": "next.ann.example" })).await;
    let early = give(&ann, "shop", "next.ann.example", &bundle).await;
    assert_eq!(early.status, 409, "{}", early.text);
    assert_eq!(early.json["hint"], "panda domains verify next.ann.example");
    for host in ["10.0.0.1", "*", "*.", "a;b.example", "*.*.ann.example"] {
        let refused = give(&ann, "shop", host, &bundle).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("host")), "{host}");
    }
    assert_eq!(give(&ann, "shop", WWW, &bundle).await.status, 201);
    let path = format!("{CERTIFICATES}/{WWW}");
    assert_eq!((bob.get(&path).await.status, bob.delete(&path).await.status), (404, 404));
    let theirs = format!("/api/v1/apps/trap/certificates/{WWW}");
    assert_eq!((bob.get(&theirs).await.status, bob.delete(&theirs).await.status), (404, 404));
    assert!(kept(&panda, WWW).await.is_some(), "it is still there");
}

#[tokio::test]
async fn a_wildcard_covers_the_apps_domains_and_no_other_teams() {
    let (panda, ann) = with_domains(&[WWW, "api.ann.example", "deep.api.ann.example"]).await;
    let bob = panda.other_team("bob@example.org").await;
    bob.post("/api/v1/apps", json!({ "name": "trap" })).await;
    prove(&panda, &bob, "trap", "bob.ann.example").await;
    let authority = Authority::new();
    assert_eq!(give(&ann, "shop", WWW, &authority.issue(&[WWW])).await.status, 201);
    let wildcard = authority.issue(&["*.ann.example"]);
    let given = give(&ann, "shop", "*.ann.example", &wildcard).await;
    assert_eq!((given.status, &given.json["domains"]), (201, &json!(["api.ann.example"])), "{}", given.text);
    assert!(kept(&panda, "bob.ann.example").await.is_none() && kept(&panda, "*.ann.example").await.is_none());

    prove(&panda, &ann, "shop", "new.ann.example").await;
    let wide = ("*.ann.example".to_owned(), json!(["api.ann.example", "new.ann.example"]));
    assert_eq!(given_for(&ann).await, [wide, (WWW.to_owned(), json!([WWW]))]);
    assert_eq!(ann.delete(&format!("{CERTIFICATES}/{WWW}")).await.status, 204);
    let wide = ("*.ann.example".to_owned(), json!(["api.ann.example", "new.ann.example", WWW]));
    assert_eq!(given_for(&ann).await, [wide], "the wildcard covers what had its own");
    let shown = ann.get(&format!("{CERTIFICATES}/api.ann.example")).await;
    assert_eq!((shown.status, &shown.json["host"]), (200, &json!("*.ann.example")), "{}", shown.text);
    assert_eq!(ann.delete(&format!("{CERTIFICATES}/*.ann.example")).await.status, 204);
    assert!(given_for(&ann).await.is_empty() && kept(&panda, WWW).await.is_none());
    assert_eq!(ann.delete(&format!("{CERTIFICATES}/*.ann.example")).await.status, 404);
}

#[tokio::test]
async fn a_domain_that_goes_takes_its_certificate_along() {
    let (panda, ann) = with_domains(&[WWW]).await;
    assert_eq!(give(&ann, "shop", WWW, &Authority::new().issue(&[WWW])).await.status, 201);
    assert_eq!(ann.delete(&format!("/api/v1/apps/shop/domains/{WWW}")).await.status, 204);
    assert!(kept(&panda, WWW).await.is_none(), "the next owner of the host doesn't get it");
}
