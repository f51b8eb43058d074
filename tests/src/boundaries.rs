//! Who may use whom: the arrows between the crates of this repository, and which crate may know which library.
//!
//! Read from `cargo metadata`, so that nothing has to be kept in step by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use panda_test_support::process::Program;
use serde::Deserialize;

/// Our crates, and which of ours each may use. What isn't listed is refused, a new crate as well.
const ARROWS: &[(&str, &[&str])] = &[
    ("panda-domain", &[]),
    ("panda-api-types", &["panda-domain"]),
    ("panda-source-walk", &["panda-domain"]),
    ("panda-registry-token", &["panda-domain"]),
    ("panda-edge", &[]),
    ("panda-store", &["panda-domain"]),
    ("panda-jobs", &["panda-domain", "panda-store"]),
    (
        "panda-builder",
        &["panda-domain", "panda-jobs", "panda-registry-token", "panda-source-walk", "panda-store"],
    ),
    ("panda-deployer", &["panda-domain", "panda-edge", "panda-jobs", "panda-registry-token", "panda-store"]),
    // A driver sees the seam, not the store; the edge's link is part of the Docker runtime.
    ("panda-docker", &["panda-deployer", "panda-domain", "panda-edge"]),
    ("panda-kubernetes", &["panda-deployer", "panda-domain"]),
    // Plans of builds and the runtime's logs, exec and doctor are asked by use-cases: pure parts and the seam.
    (
        "panda-platform-api",
        &["panda-api-types", "panda-builder", "panda-deployer", "panda-domain", "panda-jobs", "panda-store"],
    ),
    ("panda-dashboard", &["panda-api-types", "panda-domain", "panda-platform-api"]),
    ("panda-cli", &["panda-api-types", "panda-domain", "panda-source-walk"]),
    (
        "panda-server",
        &[
            "panda-api-types",
            "panda-builder",
            "panda-dashboard",
            "panda-deployer",
            "panda-docker",
            "panda-domain",
            "panda-edge",
            "panda-jobs",
            "panda-kubernetes",
            "panda-platform-api",
            "panda-registry-token",
            "panda-store",
        ],
    ),
    (
        "panda-test-support",
        &["panda-dashboard", "panda-deployer", "panda-domain", "panda-platform-api", "panda-store"],
    ),
    (
        "panda-bench",
        &["panda-api-types", "panda-domain", "panda-e2e", "panda-registry-token", "panda-test-support"],
    ),
    ("panda-bench-edge", &["panda-edge"]),
    (
        "panda-e2e",
        &[
            "panda-api-types",
            "panda-domain",
            "panda-registry-token",
            "panda-source-walk",
            "panda-test-support",
        ],
    ),
];

/// Libraries that only these crates may know.
const OWNERS: &[(&str, &[&str])] = &[
    ("kube", &["panda-kubernetes"]),
    ("bollard", &["panda-docker"]),
    ("bollard-buildkit-proto", &["panda-builder"]),
    ("tonic", &["panda-builder"]),
    // The benchmark has a bare handler of its own to be compared with; nothing of the product uses it.
    ("sqlx", &["panda-store", "panda-bench"]),
    ("octocrab", &["panda-platform-api"]),
    ("instant-acme", &["panda-deployer"]),
    ("askama", &["panda-dashboard"]),
    ("axum", &["panda-platform-api", "panda-dashboard", "panda-server", "panda-test-support", "panda-bench"]),
    ("hyper", &["panda-edge"]),
];

/// Libraries that may not be built into anything, on any platform: one TLS, and none that needs the system's.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls", "serde_yaml", "serde_yml"];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `null`, `dev` or `build`.
    kind: Option<String>,
}

/// Returns every arrow that isn't allowed, a line each.
pub fn violations(root: &Path) -> anyhow::Result<Vec<String>> {
    let text = cargo(root, &["metadata", "--format-version", "1", "--no-deps", "--offline"])?;
    let metadata: Metadata = serde_json::from_str(&text).context("reading the output of `cargo metadata`")?;
    // Not Cargo.lock: it also names what only a feature that nobody switched on would bring.
    let tree = ["tree", "--workspace", "--target", "all", "--prefix", "none", "--format", "{p}", "--offline"];
    let built = cargo(root, &tree)?;
    let mut found = arrows(&metadata.packages);
    found.extend(owners(&metadata.packages));
    found.extend(banned(&built));
    Ok(found)
}

fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Program::new(cargo).args(arguments.iter().copied()).with_own_environment().in_folder(root).output()
}

fn arrows(packages: &[Package]) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut found = Vec::new();
    for package in packages {
        let Some(may) = allowed.get(package.name.as_str()) else {
            found.push(format!("{} isn't in the list of who may use whom", package.name));
            continue;
        };
        let used = package.dependencies.iter().filter(|dependency| ours.contains(dependency.name.as_str()));
        for dependency in used.filter(|dependency| !may.contains(&dependency.name.as_str())) {
            let in_tests = dependency.kind.as_deref() == Some("dev");
            let shared = dependency.name == "panda-test-support" || dependency.name == package.name;
            if !(in_tests && shared) {
                found.push(format!("{} may not use {}", package.name, dependency.name));
            }
        }
    }
    found
}

fn owners(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        // What stands in for a server or a client in a test isn't an arrow of the house.
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        {
            let owner = OWNERS.iter().find(|(library, _)| *library == dependency.name);
            if owner.is_some_and(|(_, owners)| !owners.contains(&package.name.as_str())) {
                found.push(format!("{} may not know {}", package.name, dependency.name));
            }
        }
    }
    found
}

fn banned(built: &str) -> Vec<String> {
    let names: BTreeSet<&str> = built.lines().filter_map(|line| line.split(' ').next()).collect();
    BANNED.iter().filter(|name| names.contains(*name)).map(|name| format!("{name} is built in")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[(&str, Option<&str>)]) -> Package {
        let dependencies = uses
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).into(), kind: kind.map(Into::into) })
            .collect();
        Package { name: name.into(), dependencies }
    }

    #[test]
    fn an_arrow_against_the_grain_is_named() {
        let packages = [
            package("panda-domain", &[("panda-store", None)]),
            package("panda-store", &[("panda-test-support", Some("dev")), ("panda-domain", None)]),
            package("panda-test-support", &[]),
            package("panda-new", &[]),
        ];
        let expected =
            ["panda-domain may not use panda-store", "panda-new isn't in the list of who may use whom"];
        assert_eq!(arrows(&packages), expected);
    }

    #[test]
    fn a_library_in_the_wrong_room_is_named() {
        let packages = [
            package("panda-cli", &[("sqlx", None), ("axum", Some("dev"))]),
            package("panda-store", &[("sqlx", None)]),
        ];
        assert_eq!(owners(&packages), ["panda-cli may not know sqlx"]);
    }

    #[test]
    fn a_second_tls_is_named() {
        assert_eq!(banned("rustls v0.23.46\nring v0.17.0 (*)\nspring v1.0.0\n"), ["ring is built in"]);
    }
}
