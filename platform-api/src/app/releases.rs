//! Releases: what can be run again, and what differs between two.

use std::collections::{BTreeMap, BTreeSet};

use panda_domain::env::Env;
use panda_domain::names::{AppName, EnvironmentName};
use panda_domain::release::{FileContent, ReleaseConfig};
use panda_domain::team::Permission;
use panda_store::{Cursor, PlacementRow, ReleaseRow};

use super::apps;
use crate::Platform;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// A release with what came of it.
#[derive(Debug)]
pub struct KnownRelease {
    /// The release.
    pub row: ReleaseRow,
    /// Whether it serves now.
    pub serving: bool,
    /// How its newest deployment ended, or stands.
    pub outcome: String,
}

/// One difference between two releases; values of secrets are never in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `image`, `env.KEY`, `processes.web.command`, …
    pub what: String,
    /// Before.
    pub before: Option<String>,
    /// After.
    pub after: Option<String>,
}

/// Returns a page of an app's releases, newest first.
pub async fn list(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    cursor: &Cursor,
) -> Result<Vec<KnownRelease>> {
    principal.require(Permission::Read, Some(app))?;
    let mut tx = platform.store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    let releases = tx.releases(&principal.team, &row.placement.id, cursor).await?;
    let mut known = Vec::with_capacity(releases.len());
    for release in releases {
        let outcome = tx.outcome_of_release(&release.id).await?;
        known.push(of(&row, release, outcome));
    }
    Ok(known)
}

/// Returns one release.
pub async fn show(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    number: u32,
) -> Result<KnownRelease> {
    principal.require(Permission::Read, Some(app))?;
    let mut tx = platform.store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    let release = tx.release_by_number(&principal.team, &row.placement.id, number).await?;
    let release = release.ok_or_else(|| Error::not_found("release"))?;
    let outcome = tx.outcome_of_release(&release.id).await?;
    Ok(of(&row, release, outcome))
}

fn of(row: &PlacementRow, release: ReleaseRow, outcome: Option<String>) -> KnownRelease {
    let serving = row.placement.last_good_release.as_ref() == Some(&release.id);
    KnownRelease { row: release, serving, outcome: outcome.unwrap_or_else(|| "unknown".to_owned()) }
}

/// Returns what differs between two releases.
pub async fn diff(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    from: u32,
    to: u32,
) -> Result<Vec<Difference>> {
    principal.require(Permission::RevealEnv, Some(app))?;
    let mut tx = platform.store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    let mut sides = Vec::with_capacity(2);
    for number in [from, to] {
        let release = tx.release_by_number(&principal.team, &row.placement.id, number).await?;
        let release = release.ok_or_else(|| Error::not_found("release"))?;
        let env = tx.env_at(&principal.team, &row.placement.id, release.env_version).await?;
        sides.push((release, env));
    }
    Ok(differences(&facts(&sides[0].0, &sides[0].1), &facts(&sides[1].0, &sides[1].1)))
}

/// A fact about a release: what people see of it, and what tells whether it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fact {
    shown: String,
    same_as: String,
}

fn facts(release: &ReleaseRow, env: &Env) -> BTreeMap<String, Fact> {
    let plain = |value: String| Fact { shown: value.clone(), same_as: value };
    let mut facts = config_facts(&release.config);
    facts.insert("image".to_owned(), format!("{}@{}", release.image.repository, release.image.digest));
    facts.insert("source".to_owned(), release.source.short());
    let mut facts: BTreeMap<_, _> = facts.into_iter().map(|(what, value)| (what, plain(value))).collect();
    for (key, value) in env {
        let same_as = value.value.reveal().to_owned();
        let shown = if value.secret { "(secret)".to_owned() } else { same_as.clone() };
        facts.insert(format!("env.{key}"), Fact { shown, same_as });
    }
    facts
}

fn config_facts(config: &ReleaseConfig) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for (name, process) in &config.processes {
        let at = |field: &str| format!("processes.{name}.{field}");
        let command =
            process.command.as_ref().map_or_else(|| "image default".to_owned(), |argv| argv.join(" "));
        facts.insert(at("command"), command);
        facts.extend(process.port.map(|port| (at("port"), port.to_string())));
        facts.extend(process.health.path.as_ref().map(|path| (at("health.path"), path.clone())));
        facts.insert(at("health.startup"), format!("{}s", process.health.startup_s));
        facts.insert(
            at("shutdown"),
            format!("drain {}s, grace {}s", process.shutdown.drain_s, process.shutdown.grace_s),
        );
    }
    facts.extend(config.release_command.as_ref().map(|argv| ("deploy.release".to_owned(), argv.join(" "))));
    for (path, content) in &config.files {
        let shown = match content {
            FileContent::Text(text) => format!("text, {} bytes: {text}", text.len()),
            FileContent::Secret(key) => format!("secret {key}"),
        };
        facts.insert(format!("files.{path}"), shown);
    }
    for port in &config.ports {
        let published = port.published.map_or_else(|| "a free one".to_owned(), |port| port.to_string());
        facts.insert(format!("ports.{}.{}", port.process, port.port), published);
    }
    facts.insert("http.timeout".to_owned(), format!("{}s", config.http.timeout_s));
    facts.insert("http.body_limit".to_owned(), config.http.body_limit_bytes.to_string());
    facts
}

fn differences(before: &BTreeMap<String, Fact>, after: &BTreeMap<String, Fact>) -> Vec<Difference> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| before.get(*name).map(|f| &f.same_as) != after.get(*name).map(|f| &f.same_as));
    changed
        .map(|name| Difference {
            what: name.clone(),
            before: before.get(name).map(|f| f.shown.clone()),
            after: after.get(name).map(|f| f.shown.clone()),
        })
        .collect()
}
