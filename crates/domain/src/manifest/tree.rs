//! The text as a tree that knows where each value stands.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::error::{Mistake, MistakeKind, shown};
use super::guard::too_deep;

/// The largest file, bytes.
pub const MAX_BYTES: usize = 256 << 10;
/// The deepest nesting of tables and lists; the grammar needs six.
const MAX_DEPTH: usize = 16;

/// A value and where it starts, as an offset in the text.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    /// `None` when it doesn't even fit into 64 bits; the text is for showing.
    Integer(Option<i64>, String),
    Float(f64, String),
    Flag(bool),
    Date(String),
    List(Vec<Node>),
    Table(Table),
}

/// Key → where the key stands, and its value.
pub(super) type Table = BTreeMap<String, (usize, Node)>;

impl Value {
    /// Returns the value's type, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(..) => "a number",
            Self::Float(..) => "a number with a fraction",
            Self::Flag(_) => "true or false",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// Returns the value as people recognise it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => shown(&format!("\"{text}\"")),
            Self::Integer(_, text) | Self::Float(_, text) | Self::Date(text) => shown(text),
            Self::Flag(flag) => format!("`{flag}`"),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

/// Where lines start, to turn offsets into places.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Returns line and column, both from 1.
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let start = self.starts[line - 1];
        let column = self.text.get(start..at).map_or(1, |before| before.chars().count() + 1);
        (line, column)
    }
}

/// Reads the text; what could be read comes back even if there are mistakes.
pub(super) fn read(text: &str, lines: &Lines<'_>) -> (Table, Vec<Mistake>) {
    if let Some(at) = too_deep(text) {
        let (line, column) = lines.place(at);
        return (Table::new(), vec![syntax("recursion limit", line, column)]);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut mistakes: Vec<Mistake> = errors
        .iter()
        .map(|error| {
            let (line, column) = lines.place(error.span().map_or(0, |span| span.start));
            syntax(error.message(), line, column)
        })
        .collect();
    let mut depth = Depth { lines, too_deep: None };
    let table = depth.table(root.into_inner(), 0);
    if let Some((line, column)) = depth.too_deep {
        mistakes.push(syntax("recursion limit", line, column));
    }
    (table, mistakes)
}

fn syntax(message: &str, line: usize, column: usize) -> Mistake {
    let (cause, fix) = match message {
        "duplicate key" => ("this key is already set".to_owned(), "keep one of the two"),
        "recursion limit" => {
            (format!("nested deeper than {MAX_DEPTH} levels"), "no setting needs that depth")
        }
        other => (format!("is no TOML here: {}", one_line(other)), "text goes in quotes: key = \"value\""),
    };
    let field = String::new();
    Mistake { field, line, column, kind: MistakeKind::Syntax, cause, fix: fix.to_owned() }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

struct Depth<'l, 't> {
    lines: &'l Lines<'t>,
    too_deep: Option<(usize, usize)>,
}

impl Depth<'_, '_> {
    fn table(&mut self, table: DeTable<'_>, depth: usize) -> Table {
        let mut read = Table::new();
        for (key, value) in table {
            let key_at = key.span().start;
            let at = value.span().start;
            let value = self.value(value.into_inner(), at, depth + 1);
            read.insert(key.into_inner().into_owned(), (key_at, Node { at, value }));
        }
        read
    }

    fn value(&mut self, value: DeValue<'_>, at: usize, depth: usize) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => {
                let read = i64::from_str_radix(number.as_str(), number.radix()).ok();
                Value::Integer(read, number.to_string())
            }
            DeValue::Float(number) => {
                Value::Float(number.as_str().parse().unwrap_or(f64::NAN), number.to_string())
            }
            DeValue::Boolean(flag) => Value::Flag(flag),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(_) | DeValue::Table(_) if depth > MAX_DEPTH => {
                self.too_deep.get_or_insert_with(|| self.lines.place(at));
                Value::Table(Table::new())
            }
            DeValue::Array(list) => {
                let nodes = list.into_iter().map(|item| {
                    let at = item.span().start;
                    Node { at, value: self.value(item.into_inner(), at, depth + 1) }
                });
                Value::List(nodes.collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, depth)),
        }
    }
}

/// Lays `over` on top of `base`: tables are merged key by key, all else is replaced.
pub(super) fn merge(base: &Table, over: &Table) -> Table {
    let mut merged = base.clone();
    for (key, (key_at, node)) in over {
        let node = match (base.get(key).map(|(_, old)| &old.value), &node.value) {
            (Some(Value::Table(old)), Value::Table(new)) => {
                Node { at: node.at, value: Value::Table(merge(old, new)) }
            }
            _ => node.clone(),
        };
        merged.insert(key.clone(), (*key_at, node));
    }
    merged
}
