//! Nodes of a cluster pull by themselves and long after a deploy: they keep a pull token that holds long as the password of their
//! login, and exchange it for one that holds as long as a pull.

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use panda_domain::secret::Secret;
use serde::Deserialize;

use crate::key::RegistryKey;
use crate::token::{Action, ISSUER, LIFETIME, LOGIN, SERVICE};

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
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
    /// Exchanges a login for a short token that reads those of the wished repositories that the login reads, perhaps none; returns how
    /// long it holds as well, which is never longer than the login. `None` when that isn't ours, its time is over, or it is a token
    /// of another kind: else whoever has a short one had it for ever.
    pub fn exchange(&self, given: &str, wished: &[&str]) -> Option<(Secret, Duration)> {
        let claims = self.verify(given)?;
        let left = u64::try_from(claims.exp - self.now()).ok().map(Duration::from_secs)?;
        let lifetime = LIFETIME.min(left);
        let reads = |name: &str| {
            let mut access = claims.access.iter();
            access.any(|one| one.name == name && one.actions.iter().any(|action| action == "pull"))
        };
        let granted: Vec<_> =
            wished.iter().filter(|name| reads(name)).map(|name| (*name, [Action::Pull].as_slice())).collect();
        Some((self.token(&granted, lifetime), lifetime))
    }

    fn verify(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair().public_key());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let now = self.now();
        (claims.iss == ISSUER
            && claims.sub == LOGIN
            && claims.aud == SERVICE
            && (claims.nbf..claims.exp).contains(&now))
        .then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use panda_domain::clock::Clock;

    use super::*;

    const YEAR: Duration = Duration::from_hours(365 * 24);

    fn key(clock: &Clock) -> RegistryKey {
        let folder = tempfile::tempdir().unwrap();
        RegistryKey::load_or_create(&folder.path().join("key"), clock.clone()).unwrap()
    }

    /// Reads a token's claims as a registry does.
    fn claims(token: &Secret) -> Claims {
        let claims = URL_SAFE_NO_PAD.decode(token.reveal().split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice(&claims).unwrap()
    }

    fn reads(token: &Secret) -> Vec<String> {
        let all = claims(token).access.into_iter();
        all.map(|one| format!("{} {}", one.name, one.actions.join(","))).collect()
    }

    #[test]
    fn a_login_is_exchanged_for_a_short_token_that_reads_its_repository_and_no_other() {
        let clock = Clock::manual(Timestamp::from_second(1_000_000).unwrap());
        let key = key(&clock);
        let login = key.login("acme/api", YEAR);
        let (given, holds) = key.exchange(login.reveal(), &["acme/api", "other/api"]).unwrap();
        assert_eq!(reads(&given), ["acme/api pull"]);
        assert_eq!((claims(&given).exp, holds), (1_000_300, LIFETIME));
        let (none, _) = key.exchange(login.reveal(), &["other/api"]).unwrap();
        assert!(reads(&none).is_empty());
    }

    #[test]
    fn nothing_lives_longer_by_being_exchanged() {
        let clock = Clock::manual(Timestamp::from_second(1_000_000).unwrap());
        let key = key(&clock);
        let (short, _) = key.exchange(key.login("acme/api", YEAR).reveal(), &["acme/api"]).unwrap();
        assert!(key.exchange(short.reveal(), &["acme/api"]).is_none(), "an exchanged token");
        for other in [
            key.pull_token("acme/api", YEAR),
            key.token(&[("acme/api", &[Action::Pull, Action::Push])], YEAR),
        ] {
            assert!(key.exchange(other.reveal(), &["acme/api"]).is_none(), "a token of a build");
        }
        let ending = key.login("acme/api", Duration::from_mins(1));
        let (given, holds) = key.exchange(ending.reveal(), &["acme/api"]).unwrap();
        assert_eq!((claims(&given).exp, holds.as_secs()), (1_000_060, 60));
    }

    #[test]
    fn what_was_signed_by_another_was_changed_or_is_over_is_exchanged_for_nothing() {
        let clock = Clock::manual(Timestamp::from_second(1_000_000).unwrap());
        let (ours, other) = (key(&clock), key(&clock));
        let wished = ["acme/api"];
        assert!(ours.exchange(other.login("acme/api", YEAR).reveal(), &wished).is_none());
        let login = ours.login("acme/web", YEAR);
        let parts: Vec<&str> = login.reveal().split('.').collect();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let forged = URL_SAFE_NO_PAD.encode(claims.replace("acme/web", "acme/api"));
        assert!(ours.exchange(&format!("{}.{forged}.{}", parts[0], parts[2]), &wished).is_none());
        for wrong in ["", "a", "a.b", "a.b.c", "....", &format!("{}.{}", parts[0], parts[1])] {
            assert!(ours.exchange(wrong, &wished).is_none(), "{wrong}");
        }
        let short = ours.login("acme/api", Duration::from_secs(10));
        clock.advance(Duration::from_secs(11));
        assert!(ours.exchange(short.reveal(), &wished).is_none());
        assert!(ours.exchange(login.reveal(), &wished).is_some());
    }
}
