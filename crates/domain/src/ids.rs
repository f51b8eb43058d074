//! Ids: one type a noun, ordered by time, prefixed so that a stray id in a log says what it is.
//!
//! Text form: `app_` and 26 characters of Crockford base 32 of a UUIDv7. `app_` and the UUID as such is read as the same id:
//! what an instance is told on Kubernetes can only be put together from its pod's UID.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A text that is no id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is no {noun} id (expected `{prefix}_` and 26 letters and digits)")]
pub struct InvalidId {
    noun: &'static str,
    prefix: &'static str,
    value: String,
}

/// Makes ids. Random in production, counted in tests, so that snapshots stay equal.
#[derive(Clone, Debug)]
pub struct IdSource(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Random(Clock),
    Counted(Arc<AtomicU64>),
}

impl IdSource {
    /// Returns a source of time-ordered random ids.
    pub fn random(clock: Clock) -> Self {
        Self(Kind::Random(clock))
    }

    /// Returns a source that counts up from one.
    pub fn counted() -> Self {
        Self(Kind::Counted(Arc::new(AtomicU64::new(0))))
    }

    /// Returns a new id of the kind that the caller wants.
    pub fn next<T: Id>(&self) -> T {
        let bits = match &self.0 {
            Kind::Random(clock) => uuid_v7_bits(clock.now_ms()),
            Kind::Counted(n) => u128::from(n.fetch_add(1, Ordering::SeqCst) + 1),
        };
        T::from_bits(bits)
    }
}

fn uuid_v7_bits(ms: i64) -> u128 {
    let random: u128 = rand::random();
    let time = u128::from(ms.unsigned_abs()) & 0xffff_ffff_ffff;
    let tail = random & 0x0fff_3fff_ffff_ffff_ffff;
    (time << 80) | (0x7 << 76) | (0x2 << 62) | tail
}

fn encode(prefix: &str, mut bits: u128) -> String {
    let mut digits = [b'0'; 26];
    for slot in digits.iter_mut().rev() {
        *slot = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    let digits = std::str::from_utf8(&digits).expect("the alphabet is ASCII");
    format!("{prefix}_{digits}")
}

/// Reads a UUID's usual text form.
fn uuid_bits(text: &str) -> Option<u128> {
    let dashes = [8, 13, 18, 23];
    let shaped = text.bytes().enumerate().all(|(n, byte)| match byte {
        b'-' => dashes.contains(&n),
        b'0'..=b'9' | b'a'..=b'f' => !dashes.contains(&n),
        _ => false,
    });
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    (shaped && digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok())?
}

/// What all id types have in common.
pub trait Id: Sized {
    /// The letters before the underscore.
    const PREFIX: &'static str;
    /// Returns the id that these 128 bits stand for.
    fn from_bits(bits: u128) -> Self;
    /// Returns the text form.
    fn as_str(&self) -> &str;
}

macro_rules! ids {
    ($($name:ident $prefix:literal $noun:literal;)*) => {$(
        #[doc = concat!("Names one ", $noun, ".")]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
            fn from_bits(bits: u128) -> Self { Self(encode($prefix, bits)) }
            fn as_str(&self) -> &str { &self.0 }
        }
        impl $name {
            /// Returns the text form.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(value: &str) -> Result<Self, InvalidId> {
                let digits = value.strip_prefix(concat!($prefix, "_"));
                if let Some(bits) = digits.and_then(uuid_bits) {
                    return Ok(Self::from_bits(bits));
                }
                match digits {
                    Some(d) if d.len() == 26 && d.bytes().all(|b| ALPHABET.contains(&b)) => Ok(Self(value.to_owned())),
                    _ => Err(InvalidId { noun: $noun, prefix: $prefix, value: value.chars().take(60).collect() }),
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> { value.parse() }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String { id.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )*};
}

ids! {
    TeamId "team" "team";
    UserId "usr" "user";
    SessionId "ses" "session";
    TokenId "tok" "API token";
    DeviceCodeId "dev" "device code";
    ProjectId "prj" "project";
    EnvironmentId "env" "environment";
    AppId "app" "app";
    PlacementId "plc" "placement";
    BuildId "bld" "build";
    ReleaseId "rel" "release";
    DeploymentId "dep" "deployment";
    RouteId "rte" "route";
    DomainId "dom" "domain";
    CertificateId "crt" "certificate";
    TaskId "task" "task";
    InstanceId "ins" "instance";
    JobId "job" "job";
    DataKeyId "key" "data key";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form_and_refuses_another_nouns() {
        let ids = IdSource::random(Clock::system());
        let app: AppId = ids.next();
        assert_eq!(app.as_str().parse::<AppId>().unwrap(), app);
        assert!(app.as_str().parse::<TeamId>().is_err());
        assert!("app_../../../etc/passwd0000000000".parse::<AppId>().is_err());
    }

    #[test]
    fn an_id_is_read_from_its_uuid_too_and_from_nothing_that_only_looks_like_one() {
        let id: InstanceId = "ins_01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        assert_eq!(id.as_str().parse::<InstanceId>().unwrap(), id);
        assert_eq!(id, InstanceId::from_bits(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057));
        for bad in [
            "ins_01890a5dac96-774b-bcce-b302099a8057-",
            "ins_01890A5D-ac96-774b-bcce-b302099a8057",
            "app_01890a5d-ac96-774b-bcce-b302099a8057",
        ] {
            assert!(bad.parse::<InstanceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let ids = IdSource::random(clock.clone());
        let first: AppId = ids.next();
        clock.advance(std::time::Duration::from_millis(1));
        let second: AppId = ids.next();
        assert!(first < second);
    }
}
