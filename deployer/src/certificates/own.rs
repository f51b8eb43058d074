//! Certificates that people gave: nobody but them can renew one, so they are told in time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use panda_domain::event::Actor;
use panda_domain::ids::{AppId, TeamId};
use panda_domain::route::CertificateState;
use panda_store::{NewEvent, Store};
use serde_json::json;

use super::NEVER;
use crate::error::DeployError;

/// Owners are warned so many days before the end.
const WARNINGS: [i64; 2] = [30, 7];

/// Returns when the owner of a certificate that ends then is warned first.
pub fn first_warning(end: Timestamp) -> Timestamp {
    end - days(WARNINGS[0])
}

/// Returns when the next warning is due, after one now.
fn next_warning(end: Timestamp, now: Timestamp) -> Timestamp {
    WARNINGS.iter().map(|before| end - days(*before)).find(|at| *at > now).unwrap_or(NEVER)
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// A certificate of an app, whatever hosts it is shown for.
type Whose = (TeamId, AppId, String);

/// Warns the owners of certificates that end soon. What was said and when to speak next is one transaction, so each warning is
/// given once. Returns how many were given.
pub(super) async fn warn_of_ends(store: &Store) -> Result<usize, DeployError> {
    if store.read().await?.ending_own_certificates().await?.is_empty() {
        return Ok(0);
    }
    let now = store.clock().now();
    let mut tx = store.begin().await?;
    // A wildcard is one thing to its owner, however many hosts it covers.
    let mut ending: BTreeMap<Whose, Timestamp> = BTreeMap::new();
    for (host, state) in tx.ending_own_certificates().await? {
        let CertificateState::Own { not_after, name } = state else { continue };
        let end = Timestamp::from_second(not_after).unwrap_or(now);
        tx.warn_again_at(&host, next_warning(end, now)).await?;
        // Nobody is to be told of a host that was taken off meanwhile.
        if let Some((team, app)) = tx.owner_of_host(&host).await? {
            ending.insert((team, app, name), end);
        }
    }
    let told = ending.len();
    for ((team, app, name), end) in ending {
        let text = said(&name, end, now);
        tracing::warn!(name, "{text}");
        tx.add_event(&NewEvent {
            team: Some(team),
            app: Some(app),
            kind: "certificate.ends_soon",
            actor: &Actor::Platform,
            text,
            data: json!({ "host": name, "not_after": end.to_string() }),
        })
        .await?;
    }
    tx.wake();
    tx.commit().await?;
    Ok(told)
}

fn said(name: &str, end: Timestamp, now: Timestamp) -> String {
    let left = end.duration_since(now).as_hours();
    let when = match left {
        ..0 => format!("ended {end}"),
        0..48 => format!("ends in {left} hours"),
        _ => format!("ends in {} days", left / 24),
    };
    format!("the certificate that you gave for `{name}` {when}; `panda certs add {name}` replaces it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_warnings_and_one_for_what_comes_late() {
        let end: Timestamp = "2026-12-31T00:00:00Z".parse().expect("a time");
        let (month, week) = (end - days(30), end - days(7));
        assert_eq!(first_warning(end), month);
        assert_eq!(next_warning(end, month), week);
        assert_eq!(next_warning(end, week), NEVER);
        assert_eq!(next_warning(end, end - days(3)), NEVER, "a week before is over");
    }
}
