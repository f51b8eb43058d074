//! The hash of a create request, the same whatever order its maps come in.

use std::fmt::Write as _;

use bollard::models::ContainerCreateBody;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Hashes a request. Values of variables stay out: a hash in a label would let short secrets be guessed.
pub(crate) fn of(body: &ContainerCreateBody) -> String {
    let mut body = body.clone();
    for variable in body.env.iter_mut().flatten() {
        variable.truncate(variable.find('=').unwrap_or(variable.len()));
    }
    if let Some(config) = &mut body.host_config {
        (config.memory, config.memory_swap, config.nano_cpus) = (None, None, None);
    }
    whole(&body)
}

/// Hashes a request with everything in it.
pub(crate) fn whole(body: &ContainerCreateBody) -> String {
    let mut text = String::new();
    canonical(&serde_json::to_value(body).expect("a create request is plain data"), &mut text);
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        write!(hex, "{byte:02x}").expect("a string takes all that is written");
    }
    hex
}

/// Writes a value with the keys of its maps in order, absent fields left out.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            sequence(out, '{', '}', entries, |(key, value), out| {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            });
        }
        Value::Array(items) => sequence(out, '[', ']', items, canonical),
        plain => out.push_str(&plain.to_string()),
    }
}

fn sequence<T>(
    out: &mut String,
    open: char,
    close: char,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(T, &mut String),
) {
    out.push(open);
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}
