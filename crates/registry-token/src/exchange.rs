//! Nodes of a cluster pull by themselves and long after a deploy: they keep a pull token that holds long as the password of their
//! login, and exchange it for one that holds as long as a pull.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use panda_domain::secret::Secret;
use serde::Deserialize;

use crate::key::RegistryKey;
use crate::token::{Action, ISSUER, LIFETIME, SERVICE};

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    nbf: i64,
    exp: i64,
    access: Vec<Access>,
}

#[derive(Deserialize)]
struct Access {
    name: String,
    actions: Vec<String>,
}

impl RegistryKey {
    /// Exchanges a token of ours for a short one that reads those of the wished repositories that the given one reads, perhaps
    /// none. `None` when it isn't ours or its time is over.
    pub fn exchange(&self, given: &str, wished: &[&str]) -> Option<Secret> {
        let claims = self.verify(given)?;
        let reads = |name: &str| {
            let mut access = claims.access.iter();
            access.any(|one| one.name == name && one.actions.iter().any(|action| action == "pull"))
        };
        let granted: Vec<_> =
            wished.iter().filter(|name| reads(name)).map(|name| (*name, [Action::Pull].as_slice())).collect();
        Some(self.token(&granted, LIFETIME))
    }

    fn verify(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair().public_key());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let now = self.now();
        (claims.iss == ISSUER && claims.aud == SERVICE && (claims.nbf..claims.exp).contains(&now))
            .then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use panda_domain::clock::Clock;

    use super::*;

    const YEAR: Duration = Duration::from_hours(365 * 24);

    fn key(clock: &Clock) -> RegistryKey {
        let folder = tempfile::tempdir().unwrap();
        RegistryKey::load_or_create(&folder.path().join("key"), clock.clone()).unwrap()
    }

    fn reads(key: &RegistryKey, token: &Secret) -> Vec<String> {
        let claims = key.verify(token.reveal()).unwrap();
        claims.access.into_iter().map(|one| format!("{} {}", one.name, one.actions.join(","))).collect()
    }

    #[test]
    fn a_login_is_exchanged_for_a_short_token_that_reads_its_repository_and_no_other() {
        let clock = Clock::manual(Timestamp::from_second(1_000_000).unwrap());
        let key = key(&clock);
        let login = key.pull_token("acme/api", YEAR);
        let given = key.exchange(login.reveal(), &["acme/api", "other/api"]).unwrap();
        assert_eq!(reads(&key, &given), ["acme/api pull"]);
        assert_eq!(key.verify(given.reveal()).unwrap().exp, 1_000_300);
        let none = key.exchange(login.reveal(), &["other/api"]).unwrap();
        assert!(reads(&key, &none).is_empty());
    }

    #[test]
    fn what_was_signed_by_another_was_changed_or_is_over_is_exchanged_for_nothing() {
        let clock = Clock::manual(Timestamp::from_second(1_000_000).unwrap());
        let (ours, other) = (key(&clock), key(&clock));
        let wished = ["acme/api"];
        assert!(ours.exchange(other.pull_token("acme/api", YEAR).reveal(), &wished).is_none());
        let login = ours.pull_token("acme/web", YEAR);
        let parts: Vec<&str> = login.reveal().split('.').collect();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let forged = URL_SAFE_NO_PAD.encode(claims.replace("acme/web", "acme/api"));
        assert!(ours.exchange(&format!("{}.{forged}.{}", parts[0], parts[2]), &wished).is_none());
        for wrong in ["", "a", "a.b", "a.b.c", "....", &format!("{}.{}", parts[0], parts[1])] {
            assert!(ours.exchange(wrong, &wished).is_none(), "{wrong}");
        }
        let short = ours.pull_token("acme/api", Duration::from_secs(10));
        clock.advance(Duration::from_secs(11));
        assert!(ours.exchange(short.reveal(), &wished).is_none());
        assert!(ours.exchange(login.reveal(), &wished).is_some());
    }
}
