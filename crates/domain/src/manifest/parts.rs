//! `[env]`, `[files]` and `[[domains]]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::env::{MAX_VALUE_BYTES, MAX_VARIABLES};
use crate::names::{EnvKey, Hostname};
use crate::release::FileContent;

use super::error::{Fault, shown};
use super::section::{Mistakes, Section};
use super::text;
use super::tree::{Node, Table, Value};

/// The most files and the most domains of a manifest.
pub(super) const MAX_ITEMS: usize = 100;

/// A domain that the app wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainConfig {
    /// The host name.
    pub host: Hostname,
    /// The beginning of the path, `/` unless said.
    pub path: String,
}

pub(super) fn env(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> BTreeMap<EnvKey, String> {
    let mut env = BTreeMap::new();
    for (count, (key, at, node)) in section.entries().enumerate() {
        let path = section.path_of(key);
        if count == MAX_VARIABLES {
            let fault = Fault::invalid(format!("is one of more than {MAX_VARIABLES}"), "set fewer variables");
            mistakes.add(&path, at, fault);
            break;
        }
        let name = key.parse::<EnvKey>().map_err(|error| text::name_fault(&error));
        match (name, value(key, node)) {
            (Ok(name), Ok(value)) => {
                env.insert(name, value);
            }
            (name, value) => {
                if let Err(fault) = name {
                    mistakes.add(&path, at, fault);
                }
                if let Err(fault) = value {
                    mistakes.add(&path, node.at, fault);
                }
            }
        }
    }
    env
}

fn value(key: &str, node: &Node) -> Result<String, Fault> {
    if let Value::Table(table) = &node.value {
        return Err(reference(key, table));
    }
    let value = text::text(node)?;
    if value.len() > MAX_VALUE_BYTES {
        return Err(Fault::invalid("is longer than 64 KiB", "put it into a file, see [files]"));
    }
    Ok(value.to_owned())
}

fn reference(key: &str, table: &Table) -> Fault {
    let key = if key.parse::<EnvKey>().is_ok() { key } else { "KEY" };
    match table.keys().next().map(String::as_str) {
        Some("from") => Fault::unsupported(
            "refers to a database or service, which come in a later version",
            format!("run `panda env set --secret {key}=…`"),
        ),
        Some("generate") => Fault::unsupported(
            "asks for a generated value, which comes in a later version",
            format!("run `openssl rand -base64 32 | panda env set --secret {key} -`"),
        ),
        Some("prompt") => Fault::unsupported(
            "asks for a prompt, which comes in a later version",
            format!("run `panda env set --secret {key}`, which asks for the value"),
        ),
        _ => Fault::invalid("is a table, no text", "put the value in quotes"),
    }
}

pub(super) fn files(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> BTreeMap<String, FileContent> {
    let mut files: BTreeMap<String, FileContent> = BTreeMap::new();
    for (count, (key, at, node)) in section.entries().enumerate() {
        let path = section.path_of(key);
        if count == MAX_ITEMS {
            let fault = Fault::invalid(format!("is one of more than {MAX_ITEMS} files"), "mount fewer files");
            mistakes.add(&path, at, fault);
            break;
        }
        if let Err(fault) = text::check_mount(key) {
            mistakes.add(&path, at, fault);
        } else if let Some(other) = files.keys().find(|other| key.starts_with(&format!("{other}/"))) {
            let cause = format!("lies below {}, which is a file", shown(other));
            mistakes.add(&path, at, Fault::invalid(cause, "move one of the two"));
        }
        match content(node) {
            Ok(content) => {
                files.insert(key.clone(), content);
            }
            Err(fault) => mistakes.add(&path, node.at, fault),
        }
    }
    files
}

fn content(node: &Node) -> Result<FileContent, Fault> {
    let fix = "write a text, or { secret = \"KEY\" }";
    let Value::Table(table) = &node.value else {
        return text::text(node).map(|text| FileContent::Text(text.to_owned()));
    };
    match (table.len(), table.get("secret")) {
        (1, Some((_, secret))) => {
            text::name::<EnvKey>(secret).map(|key| FileContent::Secret(key.as_str().to_owned()))
        }
        _ => Err(Fault::invalid("is a table without exactly the key `secret`", fix)),
    }
}

pub(super) fn domains(node: &Node, mistakes: &mut Mistakes<'_>) -> Vec<DomainConfig> {
    let Value::List(items) = &node.value else {
        let fault = Fault::invalid(format!("is {}, no list", node.value.shown()), "write [[domains]]");
        mistakes.add("domains", node.at, fault);
        return Vec::new();
    };
    let mut domains: Vec<DomainConfig> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("domains.{index}");
        if index == MAX_ITEMS {
            let fault = Fault::invalid(format!("is one of more than {MAX_ITEMS}"), "name fewer domains");
            mistakes.add(&path, item.at, fault);
            break;
        }
        let Some(domain) = domain(&path, item, mistakes) else { continue };
        if domains.contains(&domain) {
            mistakes.add(&path, item.at, Fault::invalid("is listed twice", "keep one of the two"));
        } else {
            domains.push(domain);
        }
    }
    domains
}

fn domain(path: &str, node: &Node, mistakes: &mut Mistakes<'_>) -> Option<DomainConfig> {
    let mut section = Section::open(path.to_owned(), node, mistakes)?;
    let said = section.node("host").is_some();
    let host = section.read("host", mistakes, text::name::<Hostname>);
    let prefix = section.read("path", mistakes, text::url_path);
    let later =
        [("process", "remove it: requests go to `web`"), ("tls", "remove it: certificates are automatic")];
    section.finish(mistakes, &later);
    if !said {
        mistakes.add(path, node.at, Fault::invalid("has no `host`", "add host = \"api.example.com\""));
    }
    Some(DomainConfig { host: host?, path: prefix.unwrap_or_else(|| "/".to_owned()) })
}
