//! `[build]`: source → image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::EnvKey;

use super::error::Fault;
use super::section::{Later, Mistakes, Section, join};
use super::tree::{Node, Value};
use super::{quantity, text};

/// What makes the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builder {
    /// A Dockerfile if there is one, else what detection finds.
    Auto,
    /// The Dockerfile.
    Dockerfile,
    /// Node.js, whatever else is in the directory.
    Node,
    /// Python, whatever else is in the directory.
    Python,
    /// A directory of files, served as they are.
    Static,
}

/// What the file says about the build; `None` and empty mean "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildConfig {
    /// What makes the image.
    pub builder: Option<Builder>,
    /// The directory inside the source that is built, `.` for all of it.
    pub root: Option<String>,
    /// Path of the Dockerfile, from `root`.
    pub dockerfile: Option<String>,
    /// The stage of the Dockerfile.
    pub target: Option<String>,
    /// The command that installs dependencies, a line of shell.
    pub install: Option<String>,
    /// The command that builds, a line of shell.
    pub command: Option<String>,
    /// The directory that the build leaves, from `root`.
    pub output: Option<String>,
    /// Build arguments; no secrets.
    pub args: BTreeMap<String, String>,
    /// Variables that the build sees as mounted secrets.
    pub secrets: Vec<EnvKey>,
    /// Whether earlier layers may be used again.
    pub cache: Option<bool>,
    /// Seconds that the build may take.
    pub timeout_s: Option<u32>,
}

const LATER: &[Later] = &[
    ("packages", "write a Dockerfile that installs them with apt-get"),
    ("watch", "remove it: each `panda deploy` builds what changed"),
    ("image", "remove it and run `panda deploy --image REF`"),
    ("buildpacks", "remove it; a Dockerfile or a detected language builds the app"),
    ("platform", "remove it: images are built for the server's own platform"),
];

pub(super) fn read(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> BuildConfig {
    let m = mistakes;
    let config = BuildConfig {
        builder: section.read("builder", m, builder),
        root: section.read("root", m, text::inside).flatten(),
        dockerfile: section.read("dockerfile", m, text::inside).flatten(),
        target: section.read("target", m, stage).flatten(),
        install: section.read("install", m, text::line).flatten(),
        command: section.read("command", m, text::line).flatten(),
        output: section.read("output", m, text::inside).flatten(),
        args: section.section("args", m).map(|args| arguments(&args, m)).unwrap_or_default(),
        secrets: secrets(&mut section, m),
        cache: section.read("cache", m, text::flag),
        timeout_s: section.read("timeout", m, |node| quantity::seconds(node, 60..=6 * 3600)),
    };
    section.finish(m, LATER);
    config
}

fn builder(node: &Node) -> Result<Builder, Fault> {
    let known = [
        ("auto", Builder::Auto),
        ("dockerfile", Builder::Dockerfile),
        ("node", Builder::Node),
        ("python", Builder::Python),
        ("static", Builder::Static),
    ];
    let later = [
        ("image", "run `panda deploy --image REF`"),
        ("buildpacks", "use \"auto\" or write a Dockerfile"),
        ("railpack", "use \"auto\" or write a Dockerfile"),
        ("nixpacks", "use \"auto\" or write a Dockerfile"),
    ];
    text::word(node, &known, &later)
}

fn stage(node: &Node) -> Result<Option<String>, Fault> {
    let name = text::text(node)?;
    if name.is_empty() {
        return Ok(None);
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.len() <= 128 && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(plain) {
        return Ok(Some(name.to_owned()));
    }
    Err(Fault::invalid(
        format!("is {}, no name of a stage", node.value.shown()),
        "use the name after AS in the Dockerfile",
    ))
}

fn arguments(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    for (key, at, node) in section.entries() {
        let path = section.path_of(key);
        if !is_argument(key) {
            let fix = "use letters, digits and underscores";
            mistakes.add(&path, at, Fault::invalid("is no name of a build argument", fix));
            continue;
        }
        match text::text(node) {
            Ok(value) => {
                arguments.insert(key.clone(), value.to_owned());
            }
            Err(fault) => mistakes.add(&path, node.at, fault),
        }
    }
    arguments
}

fn is_argument(key: &str) -> bool {
    key.len() <= 128
        && key.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !key.starts_with("BUILDKIT_")
}

fn secrets(section: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Vec<EnvKey> {
    let Some(node) = section.node("secrets") else { return Vec::new() };
    let path = section.path_of("secrets");
    let Value::List(items) = &node.value else {
        let fault = Fault::invalid(format!("is {}, no list", node.value.shown()), "write [\"NPM_TOKEN\"]");
        mistakes.add(&path, node.at, fault);
        return Vec::new();
    };
    let mut keys = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match text::name(item) {
            Ok(key) => keys.push(key),
            Err(fault) => mistakes.add(&join(&path, &index.to_string()), item.at, fault),
        }
    }
    keys
}
