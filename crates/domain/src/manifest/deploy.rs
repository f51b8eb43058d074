//! `[deploy]` and `[http]`: how a release becomes live, and how requests reach it.

use serde::{Deserialize, Serialize};

use super::figures::{BODY_LIMIT_BYTES, HEALTH_TIMEOUT_S, HTTP_TIMEOUT_S, RELEASE_TIMEOUT_S};
use super::section::{Later, Mistakes, Section};
use super::{command, quantity, text};

/// What the file says about going live; `None` means "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeployConfig {
    /// Runs once in the new image before traffic moves; argv.
    pub release: Option<Vec<String>>,
    /// Seconds that the release command may take.
    pub release_timeout_s: Option<u32>,
    /// Seconds until every new instance is ready.
    pub health_timeout_s: Option<u32>,
    /// Whether a failure shortly after `live` goes back by itself.
    pub auto_rollback: Option<bool>,
}

/// What the file says about requests; `None` means "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpSettings {
    /// Seconds until the first byte of the response.
    pub timeout_s: Option<u32>,
    /// The largest request body, bytes.
    pub body_limit_bytes: Option<u64>,
    /// Whether plain HTTP is redirected.
    pub force_https: Option<bool>,
}

const DEPLOY_LATER: &[Later] = &[
    ("max_surge", "remove it: as many new instances start as fit"),
    ("max_unavailable", "remove it: it is always 0"),
    ("keep_releases", "remove it: releases are kept"),
];
const HTTP_LATER: &[Later] = &[
    ("idle", "remove it: idle connections end after 55 s, streams don't"),
    ("sticky", "remove it: keep sessions in a cookie or a database"),
];

pub(super) fn read(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> DeployConfig {
    let m = mistakes;
    let later = [
        ("bluegreen", "use \"rolling\": the old release serves until the new one is ready"),
        ("canary", "use \"rolling\""),
        ("recreate", "use \"rolling\""),
        ("immediate", "use \"rolling\""),
    ];
    section.read("strategy", m, |node| text::word(node, &[("rolling", ())], &later));
    let config = DeployConfig {
        release: section.read("release", m, command::command).flatten(),
        release_timeout_s: section
            .read("release_timeout", m, |node| quantity::seconds(node, RELEASE_TIMEOUT_S)),
        health_timeout_s: section.read("health_timeout", m, |node| quantity::seconds(node, HEALTH_TIMEOUT_S)),
        auto_rollback: section.read("auto_rollback", m, text::flag),
    };
    section.finish(m, DEPLOY_LATER);
    config
}

pub(super) fn read_http(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> HttpSettings {
    let m = mistakes;
    let settings = HttpSettings {
        timeout_s: section.read("timeout", m, |node| quantity::seconds(node, HTTP_TIMEOUT_S)),
        body_limit_bytes: section.read("body_limit", m, |node| quantity::bytes(node, BODY_LIMIT_BYTES)),
        force_https: section.read("force_https", m, text::flag),
    };
    section.finish(m, HTTP_LATER);
    settings
}
