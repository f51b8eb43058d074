//! New keys, as the parts of one Secret.

use std::path::Path;

use panda_domain::clock::Clock;
use panda_edge::local_ca::LocalCa;
use panda_kubernetes::Parts;
use panda_registry_token::RegistryKey;
use panda_store::Keyring;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use crate::commands::{Failure, Outcome};
use crate::config::Config;

pub(super) const REGISTRY_KEY: &str = "registry.key";
pub(super) const BUILDER_CA: &str = "builder-ca.crt";
pub(super) const BUILDER_CERT: &str = "builder-server.crt";
pub(super) const BUILDER_KEY: &str = "builder-server.key";

/// Makes all keys of an installation.
pub(super) fn keys(config: &Config, builder_host: &str) -> Outcome<Parts> {
    let mut parts = files(config)?;
    let tls = builder_tls(builder_host).map_err(|error| Failure::of(error, "this is a bug"))?;
    parts.extend(tls.map(|(name, pem)| (name.to_owned(), pem.into_bytes())));
    Ok(parts)
}

/// Those that an installation elsewhere makes as files are made in the same way, beside where they will lie: in memory.
fn files(config: &Config) -> Outcome<Parts> {
    let fix = "mount an emptyDir in memory there, writable for the pod's user";
    let keys = config.data_dir.join("keys");
    let folder = std::fs::create_dir_all(&keys).and_then(|()| tempfile::tempdir_in(&keys));
    let folder =
        folder.map_err(|error| Failure::new(format!("write into `{}`: {error}", keys.display()), fix))?;
    let at = |name: &str| folder.path().join(name);
    let clock = Clock::system();
    let authority = format!("Panda local authority ({})", config.platform_host());
    Keyring::create_file(&at("master.key")).map_err(|error| Failure::of(error, fix))?;
    RegistryKey::load_or_create(&at(REGISTRY_KEY), clock.clone()).map_err(|error| Failure::of(error, fix))?;
    LocalCa::load_or_create(&at("local-ca.key"), &at("local-ca.crt"), &authority, clock.now().into())
        .map_err(|error| Failure::of(error, fix))?;
    let read = |name: &str| Ok((name.to_owned(), read(&at(name))?));
    ["master.key", REGISTRY_KEY, "local-ca.key", "local-ca.crt"].into_iter().map(read).collect()
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| Failure::new(format!("read `{}`: {error}", path.display()), "this is a bug"))
}

/// The authority of one daemon and of who may speak to it. Its key is used here and kept nowhere. Both sides trust this
/// authority alone and end together with it, so the dates mean nothing: rcgen's default is a long time.
fn builder_tls(host: &str) -> Result<[(&'static str, String); 5], rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = named("panda builder authority", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let leaf = |name: &str, hosts: Vec<String>, usage| -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = named(name, hosts)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
    };
    let daemon = leaf("panda builder", vec![host.to_owned()], ExtendedKeyUsagePurpose::ServerAuth)?;
    let server = leaf("panda server", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)?;
    Ok([
        (BUILDER_CA, authority),
        (BUILDER_CERT, daemon.0),
        (BUILDER_KEY, daemon.1),
        ("builder-client.crt", server.0),
        ("builder-client.key", server.1),
    ])
}

fn named(name: &str, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
