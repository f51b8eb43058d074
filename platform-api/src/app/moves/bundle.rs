//! What goes from one server to the other, and its envelope.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use panda_api_types::{MoveBundle, MoveKey};
use panda_domain::env::EnvValue;
use panda_domain::formation::Formation;
use panda_domain::names::{AppName, EnvKey};
use panda_domain::release::{ReleaseConfig, ReleaseImage};
use panda_domain::secret::Secret;
use panda_domain::source::Source;
use rustls::crypto::hpke::{EncapsulatedSecret, HpkePrivateKey, HpkePublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::suite;
use crate::error::{Error, Result};

/// Raised when an older server must not read it.
const FORMAT: u32 = 1;
const ABOUT: &[u8] = b"panda move 1";

/// An app's settings. Has no `Debug`, because of the values.
pub struct Goods {
    /// Variables and secrets.
    pub env: Vec<MovedVariable>,
    /// Replicas and sizes.
    pub formation: Formation,
    /// The release.
    pub release: MovedRelease,
}

/// A variable.
pub struct MovedVariable {
    /// Its name.
    pub key: EnvKey,
    /// Its value.
    pub value: Secret,
    /// Whether it is write-only.
    pub secret: bool,
}

impl MovedVariable {
    pub(super) fn value(&self) -> EnvValue {
        EnvValue { value: self.value.clone(), secret: self.secret }
    }
}

/// A release without what is its server's own.
pub struct MovedRelease {
    /// Its number at the source.
    pub number: u32,
    /// Its image.
    pub image: ReleaseImage,
    /// Its settings.
    pub config: ReleaseConfig,
    /// Where its code came from.
    pub source: Source,
}

/// The text inside of the envelope.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inside<'a> {
    format: u32,
    #[serde(borrow)]
    env: Vec<(EnvKey, std::borrow::Cow<'a, str>, bool)>,
    formation: Formation,
    number: u32,
    repository: String,
    digest: panda_domain::image::Digest,
    own_registry: bool,
    built_here: bool,
    config: ReleaseConfig,
    source: Source,
}

/// Seals it to the key of one server, for one app.
pub(super) fn seal(
    goods: &Goods,
    from: &str,
    to: &MoveKey,
    public: &HpkePublicKey,
    app: &AppName,
) -> Result<MoveBundle> {
    let release = &goods.release;
    let env = goods.env.iter().map(|v| (v.key.clone(), v.value.reveal().into(), v.secret));
    let inside = Inside {
        format: FORMAT,
        env: env.collect(),
        formation: goods.formation.clone(),
        number: release.number,
        repository: release.image.repository.clone(),
        digest: release.image.digest.clone(),
        own_registry: release.image.own_registry,
        built_here: release.image.built_here,
        config: release.config.clone(),
        source: release.source.clone(),
    };
    let text = Zeroizing::new(serde_json::to_vec(&inside).map_err(Error::internal)?);
    let sealed = suite().seal(ABOUT, &bound(from, &to.installation, app), &text, public);
    let (encapsulated, sealed) = sealed
        .map_err(|_| Error::invalid_field("to.public_key", "is no key that anything can be sealed to"))?;
    Ok(MoveBundle {
        from_installation: from.to_owned(),
        encapsulated: STANDARD.encode(encapsulated.0),
        sealed: STANDARD.encode(sealed),
    })
}

/// Opens what was sealed for this server and this app. Anything else is refused without a guess (P9).
pub(super) fn open(bundle: &MoveBundle, own: &str, private: &HpkePrivateKey, app: &AppName) -> Result<Goods> {
    let wrong = || {
        Error::invalid_field(
            "bundle",
            "doesn't open: it was made for another server or app, or it changed on its way",
        )
        .with_hint("run `panda move` again, with this server as --to-server")
    };
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| wrong());
    let encapsulated = EncapsulatedSecret(decode(&bundle.encapsulated)?);
    let (about, sealed) = (bound(&bundle.from_installation, own, app), decode(&bundle.sealed)?);
    let text = suite().open(&encapsulated, ABOUT, &about, &sealed, private).map_err(|_| wrong())?;
    let text = Zeroizing::new(text);
    let inside: Inside<'_> = serde_json::from_slice(&text).map_err(|_| {
        Error::invalid_field("bundle", "is of a version that this server doesn't know")
            .with_hint("bring both servers to the same version, then run `panda move` again")
    })?;
    if inside.format != FORMAT {
        return Err(Error::invalid_field("bundle", format!("has the unknown format {}", inside.format)));
    }
    let env = inside.env.into_iter().map(|(key, value, secret)| MovedVariable {
        key,
        value: Secret::new(value.into_owned()),
        secret,
    });
    Ok(Goods {
        env: env.collect(),
        formation: inside.formation,
        release: MovedRelease {
            number: inside.number,
            image: ReleaseImage {
                repository: inside.repository,
                digest: inside.digest,
                own_registry: inside.own_registry,
                built_here: inside.built_here,
            },
            config: inside.config,
            source: inside.source,
        },
    })
}

/// From where, to where, which app: none of these has a line break.
fn bound(from: &str, to: &str, app: &AppName) -> Vec<u8> {
    format!("{from}\n{to}\n{app}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn goods() -> Goods {
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let variable = |key: &str, value: &str, secret| MovedVariable {
            key: key.parse().unwrap(),
            value: Secret::new(value),
            secret,
        };
        let config = serde_json::from_value(serde_json::json!({
            "processes": {}, "rollout_timeout_s": 300, "release_timeout_s": 600, "auto_rollback": true
        }));
        Goods {
            env: vec![variable("A", "plain \"\\n", false), variable("KEY", "s3cret", true)],
            formation: BTreeMap::new(),
            release: MovedRelease {
                number: 7,
                image: ReleaseImage {
                    repository: "team/shop".to_owned(),
                    digest,
                    own_registry: true,
                    built_here: true,
                },
                config: config.unwrap(),
                source: Source::Upload { tree: "sha256:aa".to_owned(), git_sha: None },
            },
        }
    }

    #[test]
    fn a_bundle_opens_at_one_server_for_one_app_and_unchanged() {
        let (public, private) = suite().generate_key_pair().unwrap();
        let to = MoveKey {
            installation: "there".to_owned(),
            public_key: String::new(),
            fingerprint: String::new(),
        };
        let app: AppName = "shop".parse().unwrap();
        let bundle = seal(&goods(), "here", &to, &public, &app).unwrap();
        assert!(!bundle.sealed.contains("s3cret"));
        let opened = open(&bundle, "there", &private, &app).unwrap();
        let env: Vec<_> = opened.env.iter().map(|v| (v.key.as_str(), v.value.reveal(), v.secret)).collect();
        assert_eq!(env, [("A", "plain \"\\n", false), ("KEY", "s3cret", true)]);
        assert_eq!((opened.release.number, opened.release.image.built_here), (7, true));

        let (_, other) = suite().generate_key_pair().unwrap();
        let mut bent = bundle.clone();
        bent.sealed.replace_range(..4, if bent.sealed.starts_with("AAAA") { "BBBB" } else { "AAAA" });
        let elsewhere = MoveBundle { from_installation: "elsewhere".to_owned(), ..bundle.clone() };
        for (bundle, own, key, name) in [
            (&bundle, "there", &other, "shop"),
            (&bundle, "here", &private, "shop"),
            (&bundle, "there", &private, "shop2"),
            (&bent, "there", &private, "shop"),
            (&elsewhere, "there", &private, "shop"),
        ] {
            assert!(open(bundle, own, key, &name.parse().unwrap()).is_err());
        }
    }
}
