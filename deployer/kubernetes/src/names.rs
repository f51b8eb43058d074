//! Names of objects: DNS labels of bounded length, unique by an id that only its hash has room for.

use std::fmt::Write as _;

use panda_deployer::runtime::{EnvironmentSpec, TaskKey, WorkloadKey, WorkloadSpec};
use sha2::{Digest, Sha256};

/// The longest DNS label.
const LABEL: usize = 63;
/// A ReplicaSet appends its hash and a pod's five letters, each behind a dash.
const WORKLOAD: usize = LABEL - 17;
/// Hexadecimal digits that tell objects of the same words apart within a namespace.
const WITHIN: usize = 8;
/// The same for namespaces, which share one cluster: ten thousand meet by chance once in twenty thousand installations.
const CLUSTER_WIDE: usize = 10;

/// Returns the name for an environment's namespace. `attempt` counts names that can't be had: a namespace of that name is still
/// being taken apart, or isn't ours.
pub fn namespace(spec: &EnvironmentSpec, attempt: u32) -> String {
    let key = match attempt {
        0 => spec.key.environment.to_string(),
        _ => format!("{} {attempt}", spec.key.environment),
    };
    bounded(&format!("panda-{}", spec.name), &key, LABEL, CLUSTER_WIDE)
}

/// Returns the name that all objects of one workload share.
pub fn workload(spec: &WorkloadSpec) -> String {
    let words = format!("{}-{}-v{}", spec.app, spec.key.process, spec.release_number);
    bounded(&words, &identity(&spec.key), WORKLOAD, WITHIN)
}

/// Returns the name of a task's objects.
pub(crate) fn task(key: &TaskKey) -> String {
    label(&key.task.to_string())
}

/// Returns the name of the secret with the certificate that was given for a host. Not that of an ordered one: cert-manager would
/// write over it for as long as its own object is there.
pub(crate) fn given_certificate(host: &str) -> String {
    bounded(&format!("given-{host}"), host, LABEL, WITHIN)
}

/// Returns the name of a host's ordered certificate and of its secret.
pub(crate) fn certificate(host: &str) -> String {
    bounded(&format!("tls-{host}"), host, LABEL, WITHIN)
}

/// Returns the name by which other apps of the environment find a process: the app's own for `web`.
pub fn service(spec: &WorkloadSpec) -> String {
    if spec.key.process.is_web() {
        spec.app.to_string()
    } else {
        format!("{}-{}", spec.app, spec.key.process)
    }
}

/// Returns the name of what publishes a port of an app.
pub fn published(app: &str, port: u16) -> String {
    bounded(&format!("{app}-tcp-{port}"), &format!("tcp {port}"), LABEL, WITHIN)
}

/// Returns everything that makes a workload another one.
fn identity(key: &WorkloadKey) -> String {
    format!("{} {} {} {}", key.placement, key.process, key.release, key.revision)
}

/// Returns `words-hash`, a DNS label of at most `length` characters.
fn bounded(words: &str, key: &str, length: usize, digits: usize) -> String {
    let hash = hex(&Sha256::digest(key));
    let mut words = label(words);
    words.truncate(length - digits - 1);
    let words = match words.trim_end_matches('-') {
        "" => "x",
        words => words,
    };
    format!("{words}-{}", &hash[..digits])
}

/// Makes a DNS label of any text.
fn label(text: &str) -> String {
    let letters = text.chars().map(|c| match c {
        'a'..='z' | '0'..='9' => c,
        'A'..='Z' => c.to_ascii_lowercase(),
        _ => '-',
    });
    letters.collect::<String>().trim_matches('-').to_owned()
}

/// Returns bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes all that is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label_whatever_it_is_made_of() {
        let long = "a".repeat(39);
        for words in ["preview/pr-12", "Äpp!", "", "a--", &format!("{long}-{long}")] {
            let name = bounded(words, "key", WORKLOAD, WITHIN);
            assert!(name.len() <= WORKLOAD, "{name}");
            assert!(name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-')), "{name}");
            assert!(!name.ends_with('-'), "{name}");
        }
    }

    #[test]
    fn equal_words_of_different_keys_have_different_names() {
        assert_ne!(bounded("web", "1", LABEL, WITHIN), bounded("web", "2", LABEL, WITHIN));
    }
}
