//! Where the certificates stand that cert-manager orders.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::ListParams;
use panda_deployer::runtime::{OrderedCertificate, RuntimeError, RuntimeResult};
use panda_domain::route::CertificateState;

use crate::objects::certificate::{Certificate, Condition};
use crate::objects::challenge::Challenge;
use crate::runtime::Driver;

/// From here on an order takes longer than it should, and people are told what it waits for.
const LONG: SignedDuration = SignedDuration::from_secs(90);

impl Driver {
    /// Returns the certificates of this installation, as they are watched. Only while one of them isn't issued the cluster is asked
    /// what it waits for.
    pub(crate) async fn ordered_certificates(&self) -> RuntimeResult<Vec<OrderedCertificate>> {
        let Some(kind) = &self.view.certificates else { return Ok(Vec::new()) };
        if let Some(why) = kind.broken() {
            let doing = "look at the cluster's certificates".to_owned();
            return Err(RuntimeError::Unavailable { doing, source: Some(why.into()) });
        }
        let all = kind.all();
        let waits = if all.iter().all(|one| is_issued(one)) { HashMap::new() } else { self.waits().await? };
        let now = self.config.clock.now();
        Ok(all.iter().filter_map(|one| ordered(one, &waits, now)).collect())
    }

    /// What the challenges of hosts wait for.
    async fn waits(&self) -> RuntimeResult<HashMap<String, String>> {
        let api = self.cluster.all::<Challenge>();
        let list = self.cluster.call("list challenges", api.list(&ListParams::default())).await?;
        let said = list.items.into_iter().filter_map(|challenge| {
            let reason = challenge.status?.reason;
            (!reason.is_empty()).then_some((challenge.spec.dns_name, reason))
        });
        Ok(said.collect())
    }
}

fn is_issued(certificate: &Certificate) -> bool {
    condition(certificate, "Ready").is_some_and(|ready| ready.status == "True")
}

fn condition<'a>(certificate: &'a Certificate, type_: &str) -> Option<&'a Condition> {
    certificate.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

fn ordered(
    certificate: &Certificate,
    waits: &HashMap<String, String>,
    now: Timestamp,
) -> Option<OrderedCertificate> {
    let host = certificate.spec.dns_names.first()?.clone();
    let status = certificate.status.as_ref();
    let time = |text: Option<&String>| text.and_then(|text| text.parse::<Timestamp>().ok());
    let state = if is_issued(certificate) {
        let not_after = time(status.and_then(|status| status.not_after.as_ref()))?;
        CertificateState::Issued { not_after: not_after.as_second() }
    } else {
        match obstacle(certificate, waits.get(&host), now) {
            Some(reason) => CertificateState::Failed { reason },
            None => CertificateState::Ordering,
        }
    };
    let renewal_at = time(status.and_then(|status| status.renewal_time.as_ref()));
    Some(OrderedCertificate { host, state, renewal_at })
}

/// Why a certificate isn't issued, once it should have been: an order that failed, or what one waits for that takes too long.
fn obstacle(certificate: &Certificate, waits: Option<&String>, now: Timestamp) -> Option<String> {
    let failed = condition(certificate, "Issuing")
        .filter(|issuing| issuing.status == "False" && issuing.reason == "Failed")
        .map(|issuing| issuing.message.clone());
    let begun = certificate.creation_timestamp().map_or(now, |at| at.0);
    let late = now.duration_since(begun) > LONG;
    let waiting = late.then(|| waits.cloned()).flatten();
    let not_ready =
        late.then(|| condition(certificate, "Ready").map(|ready| ready.message.clone())).flatten();
    let said = waiting.or(failed).or(not_ready).filter(|said| !said.is_empty())?;
    Some(format!("the order isn't through; it is tried on ({})", crate::reasons::shortened(&said)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn certificate(status: &serde_json::Value) -> Certificate {
        serde_json::from_value(json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": { "name": "c", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "secretName": "c", "dnsNames": ["a.example"], "issuerRef": { "name": "i", "kind": "ClusterIssuer" } },
            "status": status,
        }))
        .unwrap()
    }

    fn state(status: &serde_json::Value, waits: &str, at: &str) -> CertificateState {
        let waits =
            [("a.example".to_owned(), waits.to_owned())].into_iter().filter(|(_, said)| !said.is_empty());
        ordered(&certificate(status), &waits.collect(), at.parse().unwrap()).unwrap().state
    }

    #[test]
    fn a_certificate_is_issued_when_it_is_ready_and_not_before() {
        let ready = json!({ "notAfter": "2026-04-01T00:00:00Z", "renewalTime": "2026-03-01T00:00:00Z",
            "conditions": [{ "type": "Ready", "status": "True" }] });
        let seen =
            ordered(&certificate(&ready), &HashMap::new(), "2026-01-01T00:01:00Z".parse().unwrap()).unwrap();
        assert!(matches!(seen.state, CertificateState::Issued { not_after } if not_after == 1_775_001_600));
        assert_eq!(seen.renewal_at, "2026-03-01T00:00:00Z".parse().ok());
        let waits = json!({ "conditions": [{ "type": "Ready", "status": "False", "message": "Issuing" }] });
        assert_eq!(state(&waits, "propagation", "2026-01-01T00:00:30Z"), CertificateState::Ordering);
        assert_eq!(state(&json!({}), "", "2026-01-01T00:00:01Z"), CertificateState::Ordering);
    }

    #[test]
    fn an_order_that_failed_or_takes_long_says_why() {
        let failed = json!({ "conditions": [
            { "type": "Ready", "status": "False", "message": "Issuing" },
            { "type": "Issuing", "status": "False", "reason": "Failed", "message": "order is invalid: wrong answer" }] });
        let CertificateState::Failed { reason } = state(&failed, "", "2026-01-01T00:00:10Z") else {
            panic!("it failed")
        };
        assert!(reason.contains("wrong answer"), "{reason}");
        let waits = json!({ "conditions": [{ "type": "Ready", "status": "False", "message": "Issuing" }] });
        let CertificateState::Failed { reason } =
            state(&waits, "Waiting for propagation: 404", "2026-01-01T00:02:00Z")
        else {
            panic!("it takes long")
        };
        assert!(reason.contains("404"), "{reason}");
    }
}
