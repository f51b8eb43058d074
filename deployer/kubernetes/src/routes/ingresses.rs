//! An app's hosts: one Ingress of the cluster's class.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::ResourceExt;
use kube::api::ListParams;
use panda_deployer::runtime::{RouteTable, RuntimeResult};

use super::wanted::{App, Wanted};
use crate::covers::covers;
use crate::labels;
use crate::objects::{Place, ingress};
use crate::runtime::Driver;

/// The annotation of the class that is meant when none is named.
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// The ingress class that serves, if one was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) name: Option<String>,
    pub(crate) controller: String,
}

impl Driver {
    /// Makes an app's hosts lead to its service.
    pub(super) async fn route(&self, app: &App, table: &RouteTable) -> RuntimeResult<()> {
        if self.view.services.get(&app.namespace, &app.service).is_none() {
            // It never ran: there is nothing to lead to.
            return Ok(());
        }
        let place = Place {
            namespace: app.namespace.clone(),
            name: app.service.clone(),
            labels: self.owner.route(&app.to.environment, &app.placement, &app.name),
        };
        let certificates = self.ensure_certificates(&place, app, table).await?;
        let class = self.class().await?;
        let wanted = ingress::ingress(&ingress::Routed {
            place,
            rules: &app.rules,
            certificates: &certificates,
            class: class.name.as_deref(),
            controller: &class.controller,
            http: &app.http,
        });
        let present = self.view.ingresses.get(&app.namespace, &app.service);
        if let Some(present) = &present
            && present.spec == wanted.spec
            && covers(&present.metadata, &wanted.metadata, &[])
        {
            return Ok(());
        }
        let applied = self.cluster.apply(&self.cluster.within::<Ingress>(&app.namespace), &wanted).await?;
        let now_secrets: BTreeSet<_> = certificates.into_keys().collect();
        if let Some(present) = present {
            self.forget_certificates(&present, &now_secrets).await?;
        }
        self.view.ingresses.wrote(applied);
        Ok(())
    }

    /// Removes the hosts of apps that aren't routed any more.
    pub(super) async fn unroute(&self, wanted: &Wanted) -> RuntimeResult<()> {
        let stays = wanted.ingresses();
        for present in self.view.ingresses.all() {
            let (namespace, name) = (present.namespace().unwrap_or_default(), present.name_any());
            let ours = labels::is(&present.metadata, labels::KIND_ROUTE);
            let going = self
                .view
                .namespaces
                .get("", &namespace)
                .is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some());
            if !ours || going || stays.contains(&(namespace.clone(), name)) {
                continue;
            }
            self.cluster.remove(&self.cluster.within::<Ingress>(&namespace), &*present).await?;
            self.forget_certificates(&present, &BTreeSet::new()).await?;
            self.view.ingresses.removed(&present);
        }
        Ok(())
    }

    /// Returns the class that serves: the one that was set, else the cluster's default, else its only one.
    pub(crate) async fn class(&self) -> RuntimeResult<Class> {
        let mut known = self.routed.class.lock().await;
        if let Some(class) = &*known {
            return Ok(class.clone());
        }
        let api = self.cluster.all::<IngressClass>();
        let doing = "look for ingress classes";
        let all = self.cluster.call(doing, api.list(&ListParams::default())).await?.items;
        let class = chosen(&all, self.config.ingress_class.as_deref());
        // A cluster that has none may get one any time.
        if class.name.is_some() {
            *known = Some(class.clone());
        }
        Ok(class)
    }
}

fn chosen(all: &[IngressClass], wished: Option<&str>) -> Class {
    let is_default = |class: &&IngressClass| labels::annotation(&class.metadata, DEFAULT) == Some("true");
    let found = match wished {
        Some(name) => all.iter().find(|class| class.name_any() == name),
        None => all.iter().find(is_default).or(match all {
            [only] => Some(only),
            _ => None,
        }),
    };
    let controller = found.and_then(|class| class.spec.as_ref()?.controller.clone()).unwrap_or_default();
    let name = found.map(ResourceExt::name_any).or_else(|| wished.map(str::to_owned));
    Class { name, controller }
}

/// The secrets that an Ingress has certificates from, and the hosts of each.
pub(super) type Secrets = BTreeMap<String, BTreeSet<String>>;

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::IngressClassSpec;
    use kube::core::ObjectMeta;

    use super::*;

    fn class(name: &str, default: bool) -> IngressClass {
        let annotations = default.then(|| BTreeMap::from([(DEFAULT.to_owned(), "true".to_owned())]));
        IngressClass {
            metadata: ObjectMeta { name: Some(name.into()), annotations, ..ObjectMeta::default() },
            spec: Some(IngressClassSpec {
                controller: Some(format!("{name}.example/c")),
                ..IngressClassSpec::default()
            }),
        }
    }

    #[test]
    fn the_class_is_the_one_that_was_set_else_the_default_else_the_only_one() {
        let [a, b] = [class("a", false), class("b", true)];
        let name = |all: &[IngressClass], wished| chosen(all, wished).name;
        assert_eq!(name(&[a.clone(), b.clone()], None).as_deref(), Some("b"));
        assert_eq!(name(&[a.clone(), b], Some("a")).as_deref(), Some("a"));
        assert_eq!(name(std::slice::from_ref(&a), None).as_deref(), Some("a"));
        assert_eq!(name(&[a.clone(), class("c", false)], None), None);
        assert_eq!(chosen(&[a], None).controller, "a.example/c");
    }
}
