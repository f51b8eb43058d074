//! Whether an object that is there has all that an object that is wanted says. What the server fills in doesn't matter.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

/// Compares two objects but for these JSON pointers, and what only the server knows.
pub(crate) fn covers<K: Serialize>(present: &K, wanted: &K, but: &[&str]) -> bool {
    let value = |object: &K| serde_json::to_value(object).expect("an object is plain data");
    let mut wanted = value(wanted);
    for pointer in but {
        if let Some(found) = wanted.pointer_mut(pointer) {
            *found = Value::Null;
        }
    }
    has(&value(present), &wanted)
}

fn has(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (_, Value::Null) => true,
        (Value::Object(present), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| {
            is_empty(wanted) || present.get(name).is_some_and(|present| has(present, wanted))
        }),
        // Meshes add containers of theirs.
        (Value::Array(present), Value::Array(wanted)) if are_named(wanted) => {
            let called = |wanted: &Value| present.iter().find(|one| name(one) == name(wanted));
            wanted.iter().all(|wanted| called(wanted).is_some_and(|present| has(present, wanted)))
        }
        (Value::Array(present), Value::Array(wanted)) => {
            present.len() == wanted.len() && present.iter().zip(wanted).all(|(p, w)| has(p, w))
        }
        _ => present == wanted,
    }
}

/// The server leaves out what is empty.
fn is_empty(wanted: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

/// Tells whether each item has a name of its own. Mounts are named after their volume, which may have several.
fn are_named(items: &[Value]) -> bool {
    let names: BTreeSet<&str> = items.iter().filter_map(name).collect();
    !items.is_empty() && names.len() == items.len()
}

fn name(item: &Value) -> Option<&str> {
    item.get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_adds_is_no_difference_and_what_somebody_changed_is() {
        let wanted =
            json!({ "spec": { "replicas": 2, "containers": [{ "name": "app", "image": "a", "env": [] }] } });
        let present = json!({ "spec": {
            "replicas": 2, "paused": false,
            "containers": [{ "name": "mesh" }, { "name": "app", "image": "a", "pull": "Always" }],
        } });
        assert!(covers(&present, &wanted, &[]));
        let mut edited = present.clone();
        edited["spec"]["containers"][1]["image"] = json!("b");
        assert!(!covers(&edited, &wanted, &[]));
        let mut scaled = present;
        scaled["spec"]["replicas"] = json!(5);
        assert!(!covers(&scaled, &wanted, &[]));
        assert!(covers(&scaled, &wanted, &["/spec/replicas"]));
    }
}
