//! Reading one table of the tree: each key once, all mistakes kept, unknown keys named.

use super::error::{Fault, Mistake, MistakeKind};
use super::suggest::closest;
use super::tree::{Lines, Node, Table, Value};

/// Where mistakes are gathered.
pub(super) struct Mistakes<'t> {
    lines: &'t Lines<'t>,
    pub(super) found: Vec<Mistake>,
}

impl<'t> Mistakes<'t> {
    pub(super) fn new(lines: &'t Lines<'t>) -> Self {
        Self { lines, found: Vec::new() }
    }

    fn full(&self) -> bool {
        self.found.len() >= MAX_FOUND
    }

    /// Keeps a mistake, unless there are more already than anybody will read.
    pub(super) fn add(&mut self, field: &str, at: usize, fault: Fault) {
        if self.full() {
            return;
        }
        let (line, column) = self.lines.place(at);
        let Fault { kind, cause, fix } = fault;
        self.found.push(Mistake { field: field.to_owned(), line, column, kind, cause, fix });
    }
}

/// The most mistakes that are looked into.
const MAX_FOUND: usize = 500;

/// A key that is known but can't be used in this version, and what to do instead.
pub(super) type Later = (&'static str, &'static str);

/// One table that is being read.
pub(super) struct Section<'t> {
    pub(super) path: String,
    table: &'t Table,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn root(table: &'t Table) -> Self {
        Self { path: String::new(), table, asked: Vec::new() }
    }

    /// Opens a value as a table of its own.
    pub(super) fn open(path: String, node: &'t Node, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        if let Value::Table(table) = &node.value {
            return Some(Self { path, table, asked: Vec::new() });
        }
        let cause = format!("is {}, but has to be a table", node.value.kind());
        mistakes.add(&path, node.at, Fault::invalid(cause, format!("write [{path}] and its keys below")));
        None
    }

    /// Returns the path of a key in this table, quoted where TOML needs it.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Returns all keys with their places and values, for tables whose keys are names.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'t String, usize, &'t Node)> {
        self.table.iter().map(|(key, (at, node))| (key, *at, node))
    }

    /// Returns the value of a key as it stands.
    pub(super) fn node(&mut self, key: &'static str) -> Option<&'t Node> {
        self.asked.push(key);
        self.table.get(key).map(|(_, node)| node)
    }

    /// Reads a key by `parse`; a mistake is kept and counts as not said.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
        parse: impl FnOnce(&Node) -> Result<T, Fault>,
    ) -> Option<T> {
        let node = self.node(key)?;
        match parse(node) {
            Ok(value) => Some(value),
            Err(fault) => {
                mistakes.add(&self.path_of(key), node.at, fault);
                None
            }
        }
    }

    /// Opens the table under a key.
    pub(super) fn section(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Section<'t>> {
        let node = self.node(key)?;
        Section::open(self.path_of(key), node, mistakes)
    }

    /// Names every key that nobody asked for.
    pub(super) fn finish(self, mistakes: &mut Mistakes<'_>, later: &[Later]) {
        for (key, at, _) in self.entries() {
            if self.asked.contains(&key.as_str()) {
                continue;
            }
            if mistakes.full() {
                return;
            }
            let fault = match later.iter().find(|(known, _)| *known == key.as_str()) {
                Some((_, instead)) => Fault::unsupported("can't be used in this version of Panda", *instead),
                None => self.unknown(key, later),
            };
            mistakes.add(&self.path_of(key), at, fault);
        }
    }

    fn unknown(&self, key: &str, later: &[Later]) -> Fault {
        let known = self.asked.iter().copied().chain(later.iter().map(|(key, _)| *key));
        let fix = match (closest(key, known), misplaced(&self.path, key)) {
            (_, Some(elsewhere)) => format!("did you mean `{elsewhere}`?"),
            (Some(close), None) => format!("did you mean `{close}`?"),
            (None, None) => format!("known here: {}", self.asked.join(", ")),
        };
        Fault { kind: MistakeKind::UnknownKey, cause: "is no known key".to_owned(), fix }
    }
}

/// Joins a path and a key.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key.len() <= 80
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare {
        key.to_owned()
    } else {
        format!("\"{}\"", key.chars().take(80).flat_map(char::escape_debug).collect::<String>())
    };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Keys that people write one floor too high.
fn misplaced(path: &str, key: &str) -> Option<String> {
    if !path.is_empty() {
        return None;
    }
    let home = match key {
        "port" | "replicas" | "cpu" | "memory" | "command" | "health" | "shutdown" => "processes.web",
        "dockerfile" | "builder" | "install" | "output" | "root" => "build",
        "release" | "strategy" | "auto_rollback" => "deploy",
        "timeout" | "body_limit" | "force_https" => "http",
        _ => return None,
    };
    Some(format!("{home}.{key}"))
}
