//! Certificates beside an app's Ingress: those of the route table as secrets, others ordered from cert-manager where the table
//! lets it and that is set up.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use panda_deployer::runtime::{CertificateSpec, RouteTable, RuntimeResult};
use panda_domain::route::certificate_covers;
use sha2::{Digest, Sha256};

use super::ingresses::Secrets;
use super::wanted::{App, Wanted};
use crate::names::{self, hex};
use crate::objects::certificate::{Certificate, certificate};
use crate::objects::cluster_issuer::{ClusterIssuer, cluster_issuer};
use crate::objects::{Place, secret};
use crate::runtime::Driver;

impl Driver {
    /// Makes every host's certificate lie where the ingress reads it; returns where.
    pub(super) async fn ensure_certificates(
        &self,
        place: &Place,
        app: &App,
        table: &RouteTable,
    ) -> RuntimeResult<Secrets> {
        let hosts: BTreeSet<&str> = app.rules.iter().map(|rule| rule.host.as_str()).collect();
        let mut secrets = Secrets::new();
        for host in hosts {
            let ordered = match self.config.issuer.as_ref().filter(|_| table.orders.contains(host)) {
                Some(issuer) => {
                    let place = place.named(names::certificate(host));
                    self.order_certificate(&place, host, issuer).await?;
                    Some(place)
                }
                None => None,
            };
            let given = match table
                .certificates
                .iter()
                .find(|given| given.hosts.iter().any(|name| certificate_covers(name, host)))
            {
                Some(given) => {
                    let place = place.named(names::given_certificate(host));
                    self.give_certificate(&place, given).await?;
                    Some(place)
                }
                None => None,
            };
            // What is given serves until the table leaves it out, which it does once the order is through.
            let Some(served) = given.or(ordered) else { continue };
            secrets.entry(served.name).or_default().insert(host.to_owned());
        }
        Ok(secrets)
    }

    async fn give_certificate(&self, place: &Place, given: &CertificateSpec) -> RuntimeResult<()> {
        let hash = Sha256::new()
            .chain_update(&given.chain_pem)
            .chain_update([0])
            .chain_update(given.key_pem.reveal())
            .finalize();
        if !self.is_new_certificate(place, &hex(&hash)) {
            return Ok(());
        }
        let secrets = self.cluster.within::<Secret>(&place.namespace);
        self.cluster.apply(&secrets, &secret::certificate(place, given)).await?;
        self.note_certificate(place, hex(&hash));
        Ok(())
    }

    async fn order_certificate(&self, place: &Place, host: &str, issuer: &str) -> RuntimeResult<()> {
        let wanted = certificate(place, host, issuer);
        let seen = self.view.certificates.as_ref();
        let present = seen.and_then(|kind| kind.get(&place.namespace, &place.name));
        if present.is_some_and(|present| present.spec == wanted.spec) {
            return Ok(());
        }
        if let Some(acme) = &self.config.acme {
            let class = self.class().await?.name.unwrap_or_default();
            let issues = cluster_issuer(&self.owner.labels, issuer, acme, &class);
            self.cluster.apply(&self.cluster.all::<ClusterIssuer>(), &issues).await?;
        }
        let certificates = self.cluster.within::<Certificate>(&place.namespace);
        let applied = self.cluster.apply(&certificates, &wanted).await?;
        if let Some(kind) = seen {
            kind.wrote(applied);
        }
        Ok(())
    }

    /// Removes the keys that an Ingress had and that aren't wanted any more.
    pub(super) async fn forget_certificates(
        &self,
        before: &Ingress,
        stay: &BTreeSet<String>,
    ) -> RuntimeResult<()> {
        let namespace = before.namespace().unwrap_or_default();
        let tls = before.spec.as_ref().and_then(|spec| spec.tls.as_ref());
        let had = tls.into_iter().flatten().filter_map(|tls| tls.secret_name.clone());
        for name in had.filter(|name| !stay.contains(name)) {
            self.cluster.remove_named(&self.cluster.within::<Secret>(&namespace), &name).await?;
            let mut known = self.routed.certificates.lock().unwrap_or_else(PoisonError::into_inner);
            known.remove(&(namespace.clone(), name));
        }
        Ok(())
    }

    /// Removes what is ordered for hosts that the table has no order for: those of an Ingress that went, and what a server left that
    /// died in between. cert-manager would renew it for ever.
    pub(super) async fn cancel_orders(&self, wanted: &Wanted, table: &RouteTable) -> RuntimeResult<()> {
        let Some(kind) = self.view.certificates.as_ref().filter(|kind| kind.broken().is_none()) else {
            return Ok(());
        };
        let hosts = |app: &App| -> Vec<(String, String)> {
            let ordered = app.rules.iter().filter(|rule| table.orders.contains(&rule.host));
            ordered.map(|rule| (app.namespace.clone(), names::certificate(&rule.host))).collect()
        };
        let stays: BTreeSet<_> = wanted.apps.iter().flat_map(hosts).collect();
        for present in kind.all() {
            let place = (present.namespace().unwrap_or_default(), present.name_any());
            if stays.contains(&place) {
                continue;
            }
            self.cluster.remove(&self.cluster.within::<Certificate>(&place.0), &*present).await?;
            self.cluster.remove_named(&self.cluster.within::<Secret>(&place.0), &place.1).await?;
            kind.removed(&present);
        }
        Ok(())
    }

    fn is_new_certificate(&self, place: &Place, what: &str) -> bool {
        let known = self.routed.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(place.namespace.clone(), place.name.clone())).is_none_or(|known| known != what)
    }

    fn note_certificate(&self, place: &Place, what: String) {
        let mut known = self.routed.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((place.namespace.clone(), place.name.clone()), what);
    }
}
