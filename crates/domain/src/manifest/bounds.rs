//! The rules of a manifest for settings that didn't come through one: a release that was moved here from another server. Whoever
//! seals a bundle by hand gets no further than whoever writes a `panda.toml`.

use std::ops::RangeInclusive;

use crate::autoscale::Autoscale;
use crate::formation::{Formation, MAX_REPLICAS};
use crate::release::{FileContent, ProcessSpec, ReleaseConfig};
use crate::source::{Source, is_git_sha};
use crate::source_tree::TreeHash;

use super::figures::{
    self, BODY_LIMIT_BYTES, DRAIN_S, FAILURES, GRACE_S, HEALTH_TIMEOUT_S, HTTP_TIMEOUT_S, INTERVAL_S,
    PROBE_S, RELEASE_TIMEOUT_S, STARTUP_S,
};
use super::parts::MAX_ITEMS;
use super::process::SIGNALS;
use super::text;

/// The longest argv, bytes of all its words: the longest line of a manifest, twice.
const MAX_ARGV: usize = 16 << 10;

/// What is out of bounds: the field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct OutOfBounds {
    /// Such as `processes.web.health.startup`.
    pub field: String,
    /// A lowercase fragment.
    pub problem: String,
}

/// Collects the first thing that is out of bounds.
#[derive(Default)]
struct Look(Option<OutOfBounds>);

impl Look {
    fn demand(&mut self, fits: bool, field: impl Into<String>, problem: impl Into<String>) {
        if !fits && self.0.is_none() {
            self.0 = Some(OutOfBounds { field: field.into(), problem: problem.into() });
        }
    }

    fn within<T: PartialOrd + Copy + std::fmt::Display>(
        &mut self,
        value: T,
        range: &RangeInclusive<T>,
        field: impl Into<String>,
    ) {
        let problem = format!("has to be from {} to {}", range.start(), range.end());
        self.demand(range.contains(&value), field, problem);
    }

    fn end(self) -> Result<(), OutOfBounds> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Fails with the first setting of a release that no manifest could have made.
pub fn check_release(config: &ReleaseConfig) -> Result<(), OutOfBounds> {
    let mut look = Look::default();
    look.within(config.rollout_timeout_s, &HEALTH_TIMEOUT_S, "rollout_timeout");
    look.within(config.release_timeout_s, &RELEASE_TIMEOUT_S, "release_timeout");
    look.within(config.http.timeout_s, &HTTP_TIMEOUT_S, "http.timeout");
    look.within(config.http.body_limit_bytes, &BODY_LIMIT_BYTES, "http.body_limit");
    look.within(config.files.len(), &(0..=MAX_ITEMS), "files");
    command(&mut look, config.release_command.as_deref(), "release_command");
    for (name, spec) in &config.processes {
        process(&mut look, spec, &format!("processes.{name}"));
    }
    for (path, content) in &config.files {
        look.demand(text::check_mount(path).is_ok(), format!("files.{path}"), "can't be mounted there");
        let FileContent::Text(text) = content else { continue };
        look.demand(!text.contains('\0'), format!("files.{path}"), "has a NUL character");
    }
    look.end()
}

fn process(look: &mut Look, spec: &ProcessSpec, at: &str) {
    command(look, spec.command.as_deref(), &format!("{at}.command"));
    look.demand(spec.port != Some(0), format!("{at}.port"), "has to be from 1 to 65535");
    let health = &spec.health;
    for (figure, range, key) in [
        (health.interval_s, INTERVAL_S, "interval"),
        (health.timeout_s, PROBE_S, "timeout"),
        (health.startup_s, STARTUP_S, "startup"),
        (health.failures, FAILURES, "failures"),
    ] {
        look.within(figure, &range, format!("{at}.health.{key}"));
    }
    let ok = figures::are_statuses(health.ok_from, health.ok_to);
    look.demand(ok, format!("{at}.health.ok"), "is no range of HTTP statuses");
    let path = health.path.as_deref().is_none_or(text::is_url_path);
    look.demand(path, format!("{at}.health.path"), "is no path of a URL");
    look.demand(!health.liveness || health.path.is_some(), format!("{at}.health.liveness"), "needs a path");
    look.within(spec.shutdown.drain_s, &DRAIN_S, format!("{at}.shutdown.drain"));
    look.within(spec.shutdown.grace_s, &GRACE_S, format!("{at}.shutdown.grace"));
    let signal = SIGNALS.contains(&spec.shutdown.signal.as_str());
    look.demand(signal, format!("{at}.shutdown.signal"), "is no signal that ends a process");
}

fn command(look: &mut Look, argv: Option<&[String]>, at: &str) {
    let Some(argv) = argv else { return };
    look.demand(!argv.is_empty(), at, "is empty");
    look.demand(argv.iter().map(String::len).sum::<usize>() <= MAX_ARGV, at, "is too long");
    look.demand(!argv.iter().any(|word| word.contains('\0')), at, "has a NUL character");
}

/// Fails if a source says what no deploy could have.
pub fn check_source(source: &Source) -> Result<(), OutOfBounds> {
    let mut look = Look::default();
    if let Source::Upload { tree, git_sha } = source {
        look.demand(tree.parse::<TreeHash>().is_ok(), "source.tree", "is no hash of a tree");
        let sha = git_sha.as_deref().is_none_or(is_git_sha);
        look.demand(sha, "source.git_sha", "has to be 7 to 64 hexadecimal digits");
    }
    look.end()
}

/// Fails with the first figure of a formation that can't be. Sizes have bounds of their own, where scaling is asked for.
pub fn check_formation(formation: &Formation) -> Result<(), OutOfBounds> {
    let mut look = Look::default();
    for (process, scale) in formation {
        look.within(scale.replicas, &(0..=MAX_REPLICAS), format!("replicas.{process}"));
        let Some(Autoscale { min, max, cpu_percent, memory_percent }) = scale.autoscale else { continue };
        let fits = Autoscale::new(min, max, cpu_percent, memory_percent).is_ok();
        look.demand(fits, format!("autoscale.{process}"), "has bounds that can't be");
    }
    look.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: &[(&str, serde_json::Value)]) -> ReleaseConfig {
        let web = serde_json::json!({ "port": 8080, "health": {
            "ok_from": 200, "ok_to": 399, "interval_s": 10, "timeout_s": 5, "startup_s": 120, "failures": 3, "liveness": false } });
        let mut value = serde_json::json!({
            "processes": { "web": web }, "rollout_timeout_s": 300, "release_timeout_s": 600, "auto_rollback": true,
        });
        for (pointer, to) in change {
            match value.pointer_mut(pointer) {
                Some(place) => *place = to.clone(),
                None => value[pointer.trim_start_matches('/')] = to.clone(),
            }
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn settings_that_no_manifest_makes_are_named() {
        assert_eq!(check_release(&config(&[])), Ok(()));
        for (pointer, to, field) in [
            ("/rollout_timeout_s", serde_json::json!(u32::MAX), "rollout_timeout"),
            ("/processes/web/port", serde_json::json!(0), "processes.web.port"),
            ("/processes/web/health/startup_s", serde_json::json!(1_000_000), "processes.web.health.startup"),
            ("/processes/web/health/ok_to", serde_json::json!(999), "processes.web.health.ok"),
            ("/release_command", serde_json::json!(["a\u{0}b"]), "release_command"),
            ("/files", serde_json::json!({ "/proc/x": { "text": "" } }), "files./proc/x"),
            ("/files", serde_json::json!({ "/app/../etc/x": { "text": "" } }), "files./app/../etc/x"),
        ] {
            let wrong = check_release(&config(&[(pointer, to)])).unwrap_err();
            assert_eq!(wrong.field, field, "{wrong}");
        }
    }

    #[test]
    fn a_source_that_no_deploy_could_have_named_is_refused() {
        let upload = |tree: &str, sha: Option<&str>| Source::Upload {
            tree: tree.to_owned(),
            git_sha: sha.map(str::to_owned),
        };
        let tree = format!("sha256:{}", "a".repeat(64));
        assert_eq!(check_source(&upload(&tree, Some("0123abc"))), Ok(()));
        assert_eq!(check_source(&upload("x", None)).unwrap_err().field, "source.tree");
        assert_eq!(check_source(&upload(&tree, Some("a\nb"))).unwrap_err().field, "source.git_sha");
    }

    #[test]
    fn figures_of_a_formation_have_the_bounds_that_scaling_has() {
        let formation = |replicas: u32, autoscale: serde_json::Value| -> Formation {
            serde_json::from_value(serde_json::json!({ "web": {
                "replicas": replicas, "size": { "cpu_millis": 500, "memory_bytes": 1 << 29 }, "autoscale": autoscale } }))
            .unwrap()
        };
        assert_eq!(check_formation(&formation(3, serde_json::Value::Null)), Ok(()));
        assert!(check_formation(&formation(4_000_000, serde_json::Value::Null)).is_err());
        let bounds = serde_json::json!({ "min": 5, "max": 2, "cpu_percent": 70, "memory_percent": null });
        assert!(check_formation(&formation(3, bounds)).is_err());
    }
}
