//! The cluster's messages in words for people, and whether what they say may pass.

/// Why something isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It won't be, whatever time passes.
    Final(String),
    /// It may pass by itself.
    MayPass(String),
}

/// Says why an image can't be pulled.
pub(crate) fn pull(message: &str) -> Reason {
    let lower = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let detail = shortened(message);
    let known = if has(&["no match for platform", "no matching manifest"]) {
        "the registry has it, but not for this cluster's processors"
    } else if has(&["unauthorized", "denied", "authentication required", "no basic auth", "403 forbidden"]) {
        "the registry refuses access, or the image doesn't exist there"
    } else if has(&[
        "no such host",
        "connection refused",
        "i/o timeout",
        "deadline",
        "unreachable",
        "reset by peer",
    ]) {
        return Reason::MayPass(format!("the image's registry can't be reached ({detail})"));
    } else if has(&["not found", "manifest unknown", "name unknown"]) {
        "the image isn't in the registry"
    } else if has(&["x509", "certificate"]) {
        "the registry's certificate isn't trusted on the cluster's nodes"
    } else {
        return Reason::MayPass(format!("the image can't be pulled yet ({detail})"));
    };
    Reason::Final(format!("{known} ({detail})"))
}

/// Says which resource is short, from the scheduler's count of nodes.
pub(crate) fn unschedulable(message: &str) -> String {
    let short = [
        ("Insufficient memory", "not enough memory is free on any node"),
        ("Insufficient cpu", "not enough processor time is free on any node"),
        ("Insufficient ephemeral-storage", "not enough disk is free on any node"),
        ("Too many pods", "every node has as many pods as it may have"),
        ("unbound immediate PersistentVolumeClaims", "its volume isn't there yet"),
        ("volume node affinity", "its volume lies on a node that can't take it"),
        ("node(s) were unschedulable", "every node is being emptied"),
        ("untolerated taint", "every node is reserved or not ready"),
    ];
    let found: Vec<&str> =
        short.iter().filter(|(words, _)| message.contains(words)).map(|(_, said)| *said).collect();
    match found[..] {
        [] => format!("no node takes it ({})", shortened(message)),
        _ => format!("{} ({})", found.join(", "), shortened(message)),
    }
}

/// Says why no pod could be created at all.
pub(crate) fn not_created(message: &str) -> Reason {
    let detail = shortened(message);
    if message.contains("exceeded quota") {
        Reason::Final(format!("the environment's quota is used up ({detail})"))
    } else if message.contains("violates PodSecurity") {
        Reason::Final(format!("the cluster's Pod Security refuses it ({detail})"))
    } else {
        Reason::MayPass(format!("no instance can be created yet ({detail})"))
    }
}

/// Says what a probe found: `connection refused`, `GET /healthz gave 503`.
pub(crate) fn probe(message: &str, path: Option<&str>, timeout_s: i32) -> String {
    let path = path.unwrap_or("/");
    let said = message.split_once("probe failed: ").map_or(message, |(_, said)| said);
    if let Some(status) = said.split_once("statuscode: ").map(|(_, status)| status) {
        return format!("GET {path} gave {}", status.trim());
    }
    let lower = said.to_ascii_lowercase();
    if lower.contains("connection refused") {
        "connection refused".to_owned()
    } else if lower.contains("timeout") || lower.contains("deadline exceeded") {
        format!("no answer within {timeout_s} s")
    } else if lower.contains("connection reset") {
        "connection reset".to_owned()
    } else if lower.contains("malformed http") {
        format!("GET {path} gave no HTTP answer")
    } else {
        shortened(said)
    }
}

/// Reads why a command can't be started: a shell's exit code and words; `None` when it is about something else.
pub(crate) fn not_started(message: &str, command: &str) -> Option<(i64, String)> {
    let shown: String = command.chars().take(120).flat_map(char::escape_debug).collect();
    let says = |words: &str| message.contains(words);
    if says("executable file not found") || (says("exec: \"") && says("no such file or directory")) {
        Some((127, format!("`{shown}` isn't in the image")))
    } else if says("exec: \"") && says("permission denied") {
        Some((126, format!("`{shown}` may not be executed: permission denied")))
    } else {
        None
    }
}

/// Cuts a message to what fits into a line that is read.
pub(crate) fn shortened(message: &str) -> String {
    const MOST: usize = 300;
    let line = message.lines().next().unwrap_or_default().trim();
    match line.char_indices().nth(MOST) {
        None => line.to_owned(),
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_pull_says_why_and_whether_to_wait() {
        let gone = "failed to pull and unpack image \"r/x@sha256:1\": failed to resolve reference: r/x@sha256:1: not found";
        let Reason::Final(words) = pull(gone) else { panic!("it is gone for good") };
        assert!(words.contains("isn't in the registry"), "{words}");
        let away = "failed to do request: Head \"http://r/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused";
        assert!(matches!(pull(away), Reason::MayPass(words) if words.contains("can't be reached")));
        assert!(matches!(pull("lookup r: no such host"), Reason::MayPass(_)), "not `not found`");
        assert!(matches!(pull("pull access denied"), Reason::Final(_)));
        assert!(matches!(pull("something new"), Reason::MayPass(words) if words.contains("something new")));
    }

    #[test]
    fn the_scheduler_names_what_is_short() {
        let message = "0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient memory. preemption: 0/3 nodes are available";
        let words = unschedulable(message);
        assert!(words.starts_with("not enough memory is free on any node, not enough processor"), "{words}");
        assert!(unschedulable("0/1 nodes are available: something").contains("something"));
    }

    #[test]
    fn a_probe_is_told_as_the_platform_tells_it_elsewhere() {
        let said = |message| probe(message, Some("/healthz"), 5);
        assert_eq!(
            said("Startup probe failed: dial tcp 10.244.0.5:8080: connect: connection refused"),
            "connection refused"
        );
        assert_eq!(
            said("Readiness probe failed: HTTP probe failed with statuscode: 503"),
            "GET /healthz gave 503"
        );
        let late = "Liveness probe failed: Get \"http://10.0.0.1:1/healthz\": context deadline exceeded";
        assert_eq!(said(late), "no answer within 5 s");
    }

    #[test]
    fn quota_and_pod_security_dont_pass_by_themselves() {
        let quota = "pods \"x\" is forbidden: exceeded quota: panda, requested: pods=1, used: pods=2, limited: pods=2";
        assert!(matches!(not_created(quota), Reason::Final(words) if words.contains("quota is used up")));
        assert!(matches!(not_created("etcdserver: request timed out"), Reason::MayPass(_)));
    }
}
