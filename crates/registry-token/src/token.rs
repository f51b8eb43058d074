//! Tokens as distribution reads them: a JSON Web Token, ES256, with the certificate in its header.
//!
//! The header carries the certificate (`x5c`) rather than a key id, because versions 2 and 3 of distribution derive key ids
//! in different ways and check certificates in the same.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use panda_domain::secret::Secret;
use serde::Serialize;
use serde_json::json;

use crate::key::RegistryKey;

/// Who issues tokens, `auth.token.issuer` of the registry.
pub const ISSUER: &str = "panda";
/// Whom they are for, `auth.token.service` of the registry.
pub const SERVICE: &str = "panda-registry";
/// Where a client without a token is sent: nowhere. Tokens are handed over by those who make them.
pub const REALM: &str = "http://registry.invalid/token";
/// How long a token is good for, unless a caller knows that it needs more. The registry adds a minute for clocks that differ.
pub const LIFETIME: Duration = Duration::from_mins(5);

/// Whose token a login is, its `sub`.
pub(crate) const LOGIN: &str = "node";
/// How far back a token begins, for clocks that differ: the registry is on this machine, but not every registry will be.
const SLACK_S: i64 = 30;

/// What a token allows with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Read manifests and layers.
    Pull,
    /// Write them.
    Push,
    /// Remove them.
    Delete,
}

impl RegistryKey {
    /// Makes a token that reads one repository, for as long as a pull may take.
    pub fn pull_token(&self, repository: &str, lifetime: Duration) -> Secret {
        self.token(&[(repository, &[Action::Pull])], lifetime)
    }

    /// Makes what nodes log in with: it reads one repository, and alone can be exchanged for short tokens.
    pub fn login(&self, repository: &str, lifetime: Duration) -> Secret {
        self.token_of(LOGIN, &[(repository, &[Action::Pull])], lifetime)
    }

    /// Makes a token that finds and removes manifests of one repository: what collecting garbage needs.
    pub fn delete_token(&self, repository: &str) -> Secret {
        self.token(&[(repository, &[Action::Pull, Action::Delete])], LIFETIME)
    }

    /// Makes a token that proves to be the platform and allows nothing: `GET /v2/` answers 200 to it.
    pub fn greeting_token(&self) -> Secret {
        self.token(&[], LIFETIME)
    }

    /// Makes a token that allows exactly this, from now on.
    pub fn token(&self, access: &[(&str, &[Action])], lifetime: Duration) -> Secret {
        self.token_of(ISSUER, access, lifetime)
    }

    fn token_of(&self, subject: &str, access: &[(&str, &[Action])], lifetime: Duration) -> Secret {
        let now = self.now();
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let access: Vec<_> = access
            .iter()
            .map(|(name, actions)| json!({ "type": "repository", "name": name, "actions": actions }))
            .collect();
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.certificate()] });
        let claims = json!({
            "iss": ISSUER,
            "sub": subject,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - SLACK_S,
            "exp": now.saturating_add(lifetime),
            "jti": format!("{:032x}", rand::random::<u128>()),
            "access": access,
        });
        let text = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.pair().sign(&SystemRandom::new(), text.as_bytes());
        let signature = signature.expect("a P-256 key that was read signs whatever it is given");
        Secret::new(format!("{text}.{}", encode(signature)))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};
    use panda_domain::clock::Clock;
    use serde_json::Value;

    use super::*;

    fn part(token: &Secret, n: usize) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(token.reveal().split('.').nth(n).unwrap()).unwrap()
    }

    #[test]
    fn a_token_names_one_repository_its_actions_and_its_end_and_is_signed() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(jiff::Timestamp::from_second(1_000_000).unwrap());
        let key = RegistryKey::load_or_create(&folder.path().join("key"), clock).unwrap();
        let token = key.delete_token("acme/api");
        let claims: Value = serde_json::from_slice(&part(&token, 1)).unwrap();
        let access = json!([{ "type": "repository", "name": "acme/api", "actions": ["pull", "delete"] }]);
        assert_eq!(claims["access"], access);
        assert_eq!((&claims["exp"], &claims["aud"]), (&json!(1_000_300), &json!(SERVICE)));
        let (signed, _) = token.reveal().rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair().public_key());
        assert!(public.verify(signed.as_bytes(), &part(&token, 2)).is_ok());
        assert_ne!(key.delete_token("acme/api"), token, "no two are the same");
        assert!(!format!("{token:?}{key:?}").contains("eyJ"));
    }
}
