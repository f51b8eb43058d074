//! What doctor should know about the cluster.

use std::time::Duration;

use http::Request;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use kube::client::Body;
use panda_deployer::runtime::{Check, CheckState, RuntimeResult};

use crate::causes::with_causes;
use crate::labels;
use crate::runtime::Driver;
use crate::view::Kind;

/// What the driver does: API group, resource, subresource, verbs.
const RIGHTS: [(&str, &str, &str, &[&str]); 21] = [
    ("", "namespaces", "", &["get", "list", "watch", "create", "patch", "delete"]),
    ("", "pods", "", &["list", "watch", "patch", "delete"]),
    ("", "pods", "log", &["get"]),
    // By websocket: older servers ask for the one right, newer ones for the other.
    ("", "pods", "exec", &["get", "create"]),
    ("", "pods", "attach", &["get", "create"]),
    ("", "pods", "ephemeralcontainers", &["patch"]),
    ("", "secrets", "", &["create", "patch", "delete"]),
    ("", "configmaps", "", &["create", "patch", "delete"]),
    ("", "services", "", &["list", "watch", "create", "patch", "delete"]),
    ("", "serviceaccounts", "", &["create", "patch"]),
    ("", "resourcequotas", "", &["create", "patch"]),
    ("", "limitranges", "", &["create", "patch"]),
    ("", "events", "", &["list", "watch"]),
    ("", "persistentvolumeclaims", "", &["list"]),
    ("apps", "deployments", "", &["list", "watch", "create", "patch", "delete"]),
    ("autoscaling", "horizontalpodautoscalers", "", &["list", "watch", "create", "patch", "delete"]),
    ("batch", "jobs", "", &["list", "watch", "create", "patch", "delete"]),
    ("networking.k8s.io", "ingresses", "", &["list", "watch", "create", "patch", "delete"]),
    ("networking.k8s.io", "networkpolicies", "", &["create", "patch"]),
    ("discovery.k8s.io", "endpointslices", "", &["list", "watch"]),
    ("policy", "poddisruptionbudgets", "", &["create", "patch", "delete"]),
];
/// How far the clocks may differ.
const SKEW: Duration = Duration::from_secs(5);
/// The annotation of the storage class that is meant when none is named.
const DEFAULT_STORAGE: &str = "storageclass.kubernetes.io/is-default-class";

impl Driver {
    /// Looks at the cluster.
    pub(crate) async fn check(&self) -> Vec<Check> {
        let version = self.cluster.call("ask the cluster's version", self.cluster.client.apiserver_version());
        let first = match version.await {
            Ok(version) => ok("Kubernetes", version.git_version),
            Err(error) => {
                let fix = "check the kubeconfig, and that this machine reaches the API server";
                return vec![failed("Kubernetes", with_causes(&error), fix)];
            }
        };
        let view = match self.view.fresh() {
            Ok(()) => ok("watching", "every kind of object is up to date".to_owned()),
            Err(error) => failed("watching", with_causes(&error), "see the rights below; else wait a moment"),
        };
        let mut checks = vec![first, view];
        let (rights, nodes, ingress, storage, dns, clock) = tokio::join!(
            self.rights(),
            self.nodes(),
            self.ingress(),
            self.storage(),
            self.dns(),
            self.clock(),
        );
        checks.extend([rights, nodes, ingress]);
        checks.extend(self.certificates_check().await);
        checks.extend([storage, self.metrics_check().await, dns, clock]);
        checks
    }

    async fn rights(&self) -> Check {
        let mut missing = Vec::new();
        for (group, resource, subresource, verbs) in RIGHTS {
            for verb in verbs {
                match self.may(group, resource, subresource, verb).await {
                    Ok(true) => {}
                    Ok(false) if subresource.is_empty() => missing.push(format!("{verb} {resource}")),
                    Ok(false) => missing.push(format!("{verb} {resource}/{subresource}")),
                    Err(error) => {
                        return failed("rights", with_causes(&error), "look at the API server's log");
                    }
                }
            }
        }
        if missing.is_empty() {
            return ok("rights", "all that are needed".to_owned());
        }
        let fix = "apply the ClusterRole of the chart again";
        failed("rights", format!("missing: {}", missing.join(", ")), fix)
    }

    async fn may(&self, group: &str, resource: &str, subresource: &str, verb: &str) -> RuntimeResult<bool> {
        let attributes = ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()).filter(|sub| !sub.is_empty()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api = self.cluster.all::<SelfSubjectAccessReview>();
        let params = PostParams::default();
        let answer = self.cluster.call("ask for rights", api.create(&params, &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn nodes(&self) -> Check {
        let api = self.cluster.all::<Node>();
        let nodes = match self.cluster.call("list nodes", api.list(&ListParams::default())).await {
            Ok(nodes) => nodes.items,
            // A right that nothing else needs.
            Err(error) => {
                return warning(
                    "nodes",
                    with_causes(&error),
                    "allow the server to list nodes, or ignore this",
                );
            }
        };
        let ready = nodes.iter().filter(|node| {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
        });
        let (ready, all) = (ready.count(), nodes.len());
        let seen = format!("{ready} of {all} ready");
        match (ready == all, ready) {
            (true, 1..) => ok("nodes", seen),
            (_, 0) => failed("nodes", seen, "look at them: kubectl describe nodes"),
            _ => warning("nodes", seen, "look at the others: kubectl describe nodes"),
        }
    }

    async fn ingress(&self) -> Check {
        match self.class().await {
            Ok(class) if class.name.is_some() && !class.controller.is_empty() => {
                let name = class.name.unwrap_or_default();
                ok("ingress class", format!("{name} ({})", class.controller))
            }
            Ok(class) => {
                let seen = match class.name {
                    Some(name) => format!("there is no class `{name}`"),
                    None => "none is the default, and there isn't just one".to_owned(),
                };
                let fix = "install an ingress controller, or name its class in the server's settings";
                failed("ingress class", seen, fix)
            }
            Err(error) => {
                failed("ingress class", with_causes(&error), "allow the server to list ingress classes")
            }
        }
    }

    async fn certificates_check(&self) -> Option<Check> {
        let issuer = self.config.issuer.as_ref()?;
        let groups = self.cluster.call("list API groups", self.cluster.client.list_api_groups()).await;
        let there = groups.is_ok_and(|list| list.groups.iter().any(|group| group.name == "cert-manager.io"));
        let broken = self.view.certificates.as_ref().and_then(Kind::broken);
        Some(match (there, broken) {
            (true, None) => ok("cert-manager", format!("there, issuer `{issuer}`")),
            (true, Some(why)) => {
                let fix = "apply the ClusterRole of the chart again: certificates have to be watched";
                failed("cert-manager", why, fix)
            }
            (false, _) => failed("cert-manager", "its API isn't there".to_owned(), "install cert-manager"),
        })
    }

    async fn storage(&self) -> Check {
        let api = self.cluster.all::<StorageClass>();
        let classes = self.cluster.call("list storage classes", api.list(&ListParams::default())).await;
        let is_default =
            |class: &&StorageClass| labels::annotation(&class.metadata, DEFAULT_STORAGE) == Some("true");
        let fix =
            "mark one: kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true";
        match classes.map(|list| list.items) {
            Ok(classes) => match classes.iter().find(is_default) {
                Some(class) => ok("storage class", class.name_any()),
                None => warning("storage class", "none is the default: volumes need one".to_owned(), fix),
            },
            Err(error) => warning("storage class", with_causes(&error), fix),
        }
    }

    async fn metrics_check(&self) -> Check {
        let groups = self.cluster.call("list API groups", self.cluster.client.list_api_groups()).await;
        let there = groups.is_ok_and(|list| list.groups.iter().any(|group| group.name == "metrics.k8s.io"));
        if there {
            ok("metrics", "the metrics API is there".to_owned())
        } else {
            let seen = "no metrics API: usage can't be shown, and nothing scales by load".to_owned();
            warning("metrics", seen, "install metrics-server")
        }
    }

    async fn dns(&self) -> Check {
        let api = self.cluster.within::<EndpointSlice>("kube-system");
        let of_dns = ListParams::default().labels("kubernetes.io/service-name=kube-dns");
        let fix = "look at it: kubectl -n kube-system get pods -l k8s-app=kube-dns";
        match self.cluster.call("look for the cluster's DNS", api.list(&of_dns)).await {
            Ok(slices) => {
                let endpoints = slices.items.iter().flat_map(|slice| &slice.endpoints);
                let ready = |conditions: &k8s_openapi::api::discovery::v1::EndpointConditions| {
                    conditions.ready != Some(false)
                };
                match endpoints.filter(|one| one.conditions.as_ref().is_none_or(ready)).count() {
                    0 => warning("DNS", "no service `kube-dns` with endpoints".to_owned(), fix),
                    count => ok("DNS", format!("{count} endpoints")),
                }
            }
            Err(error) => warning("DNS", with_causes(&error), fix),
        }
    }

    async fn clock(&self) -> Check {
        let fix = "run a time service (chrony, systemd-timesyncd) here and on the cluster's nodes";
        let request = Request::get("/version").body(Body::empty());
        let Ok(request) = request else {
            return warning("clock", "it can't be compared".to_owned(), fix);
        };
        let answer = self.cluster.call("ask for the time", self.cluster.client.send(request)).await;
        let date = answer.ok().and_then(|answer| {
            let date = answer.headers().get(http::header::DATE)?.to_str().ok()?.to_owned();
            jiff::fmt::rfc2822::parse(&date).ok()
        });
        let Some(theirs) = date else {
            return warning("clock", "the API server doesn't tell its time".to_owned(), fix);
        };
        let apart = self.config.clock.now().duration_since(theirs.timestamp()).unsigned_abs();
        // The server's figure has no fractions.
        if apart <= SKEW {
            ok("clock", "as the API server's".to_owned())
        } else {
            warning("clock", format!("{} s from the API server's", apart.as_secs()), fix)
        }
    }
}

fn ok(name: &str, seen: String) -> Check {
    Check { name: name.to_owned(), state: CheckState::Ok, seen, fix: String::new() }
}

fn warning(name: &str, seen: String, fix: &str) -> Check {
    Check { name: name.to_owned(), state: CheckState::Warning, seen, fix: fix.to_owned() }
}

fn failed(name: &str, seen: String, fix: &str) -> Check {
    Check { name: name.to_owned(), state: CheckState::Failed, seen, fix: fix.to_owned() }
}
