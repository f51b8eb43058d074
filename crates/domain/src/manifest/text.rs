//! Texts with rules: paths, words of a list, names.

use std::str::FromStr;

use crate::names::InvalidName;
use crate::source_tree::check_path;

use super::error::{Fault, shown};
use super::suggest::closest;
use super::tree::{Node, Value};

/// Reads a text.
pub(super) fn text(node: &Node) -> Result<&str, Fault> {
    let fix = match &node.value {
        Value::Integer(..) | Value::Float(..) | Value::Flag(_) | Value::Date(_) => "put it in quotes",
        _ => "use a text in quotes",
    };
    match &node.value {
        Value::Text(text) if text.contains('\0') => Err(Fault::invalid("has a NUL character", "remove it")),
        Value::Text(text) => Ok(text),
        other => Err(Fault::invalid(format!("is {}, no text", other.shown()), fix)),
    }
}

/// Reads a text of one line that isn't blank; blank counts as not said.
pub(super) fn line(node: &Node) -> Result<Option<String>, Fault> {
    let text = text(node)?.trim();
    if text.len() > 8 << 10 {
        return Err(Fault::invalid("is longer than 8 kB", "move it into a script of the repository"));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::invalid("has a line break or control character", "use one line, joined by &&"));
    }
    Ok(if text.is_empty() { None } else { Some(text.to_owned()) })
}

/// Reads `true` or `false`.
pub(super) fn flag(node: &Node) -> Result<bool, Fault> {
    match &node.value {
        Value::Flag(flag) => Ok(*flag),
        other => Err(Fault::invalid(format!("is {}", other.shown()), "use true or false, without quotes")),
    }
}

/// Reads a name by its own rules.
pub(super) fn name<T: FromStr<Err = InvalidName>>(node: &Node) -> Result<T, Fault> {
    text(node)?.parse().map_err(|error| name_fault(&error))
}

/// Turns a refused name into a fault.
pub(super) fn name_fault(error: &InvalidName) -> Fault {
    let InvalidName { noun, value, problem, .. } = error;
    Fault::invalid(format!("names `{value}`, but a {noun} like that {problem}"), error.fix())
}

/// Reads one of some words; words that come later are told apart from unknown ones.
pub(super) fn word<T: Copy>(node: &Node, known: &[(&str, T)], later: &[(&str, &str)]) -> Result<T, Fault> {
    let text = text(node)?;
    if let Some((_, value)) = known.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    if let Some((_, instead)) = later.iter().find(|(word, _)| *word == text) {
        return Err(Fault::unsupported(
            format!("is {}, which comes in a later version", shown(text)),
            *instead,
        ));
    }
    let words = known.iter().map(|(word, _)| *word);
    let fix = match closest(text, words.clone()) {
        Some(close) => format!("did you mean \"{close}\"?"),
        None => format!("use one of: {}", words.collect::<Vec<_>>().join(", ")),
    };
    Err(Fault::invalid(format!("is {}", shown(text)), fix))
}

/// Reads a path inside the source, without `./` and a slash at the end; `.` is the source itself.
pub(super) fn inside(node: &Node) -> Result<Option<String>, Fault> {
    let given = text(node)?;
    if given.is_empty() {
        return Ok(None);
    }
    let path = given.trim_start_matches("./").trim_end_matches('/');
    if matches!(path, "" | ".") && !given.starts_with('/') {
        return Ok(Some(".".to_owned()));
    }
    check_path(path).map_err(|problem| {
        Fault::invalid(
            format!("is {}, which {problem}", shown(given)),
            "use a path inside the source, such as \"apps/api\"",
        )
    })?;
    Ok(Some(path.to_owned()))
}

/// Places of the container that belong to the kernel or the runtime.
const KEPT: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];
/// Files that the runtime writes itself.
const KEPT_FILES: [&str; 5] =
    ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/var/run", "/etc/ld.so.preload"];

/// Checks where a file may be mounted.
pub(super) fn check_mount(path: &str) -> Result<(), Fault> {
    let fix = "use an absolute path such as \"/app/config.json\"";
    let refuse = |why: &str| Err(Fault::invalid(why, fix));
    let Some(relative) = path.strip_prefix('/') else {
        return refuse("is no absolute path");
    };
    if let Err(problem) = check_path(relative) {
        return refuse(&problem.to_string());
    }
    let kept = KEPT
        .iter()
        .chain(&KEPT_FILES)
        .any(|kept| path == *kept || path.strip_prefix(kept).is_some_and(|rest| rest.starts_with('/')));
    if kept {
        return refuse("lies where the kernel or the runtime keeps its own files");
    }
    Ok(())
}

/// Tells whether a text is a path of URLs that nothing reads as something else.
pub(super) fn is_url_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"'<>\\^`{}|;#".contains(&b);
    let dots = path.split('/').any(|part| matches!(part, ".." | "."));
    path.starts_with('/') && path.len() <= 1024 && path.bytes().all(plain) && !dots && !path.contains("//")
}

/// Reads a path of URLs: starts with a slash, plain characters, no `..`.
pub(super) fn url_path(node: &Node) -> Result<String, Fault> {
    let path = text(node)?;
    if is_url_path(path) {
        return Ok(path.to_owned());
    }
    Err(Fault::invalid(
        format!("is {}, no path of a URL", shown(path)),
        "start it with a slash: \"/healthz\"",
    ))
}
