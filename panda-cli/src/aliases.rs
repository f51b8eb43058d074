//! Words that other platforms use, turned into ours before the command line is parsed.

/// Their words → ours. The longest match at the verb's place wins.
const ALIASES: &[(&[&str], &[&str])] = &[
    (&["config"], &["env", "list"]),
    (&["config:set"], &["env", "set"]),
    (&["config:get"], &["env", "get"]),
    (&["config:unset"], &["env", "unset"]),
    (&["config", "set"], &["env", "set"]),
    (&["config", "get"], &["env", "get"]),
    (&["config", "unset"], &["env", "unset"]),
    (&["variables"], &["env"]),
    (&["variable"], &["env"]),
    (&["vars"], &["env"]),
    (&["secrets"], &["env"]),
    (&["secrets", "set"], &["env", "set", "--secret"]),
    (&["ps:scale"], &["scale"]),
    (&["ps:autoscale:enable"], &["autoscale", "set"]),
    (&["ps:autoscale:disable"], &["autoscale", "off"]),
    (&["ps:restart"], &["restart"]),
    (&["ps:exec"], &["exec"]),
    (&["run:detached"], &["run", "--detach"]),
    (&["ssh"], &["exec"]),
    (&["shell"], &["exec"]),
    (&["console"], &["exec"]),
    (&["tail"], &["logs", "--follow"]),
    (&["create"], &["apps", "create"]),
    (&["delete"], &["destroy"]),
    (&["apps:destroy"], &["destroy"]),
    (&["apps", "destroy"], &["destroy"]),
    (&["apps", "delete"], &["destroy"]),
    (&["auth", "login"], &["login"]),
    (&["auth", "logout"], &["logout"]),
    (&["auth", "whoami"], &["whoami"]),
    (&["auth:login"], &["login"]),
    (&["auth:token"], &["tokens"]),
    (&["certs:add"], &["certs", "add"]),
    (&["domains:wait"], &["domains", "verify"]),
    (&["activity"], &["events"]),
    (&["list"], &["apps", "list"]),
    (&["launch"], &["deploy"]),
    (&["help"], &["--help"]),
    (&["version"], &["--version"]),
];

/// Flags that take a value and may stand before the verb.
const VALUED: [&str; 5] = ["-a", "--app", "-e", "--environment", "--server"];

/// What was typed, in our words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Canonical {
    /// The whole command line.
    pub(crate) arguments: Vec<String>,
    /// Typed verb and our verb, when they differ.
    pub(crate) note: Option<(String, String)>,
}

/// Turns a command line into our words.
pub(crate) fn canonical(arguments: Vec<String>) -> Canonical {
    let unchanged = |arguments| Canonical { arguments, note: None };
    let Some(at) = verb_at(&arguments) else { return unchanged(arguments) };
    let rest: Vec<&str> = arguments[at..].iter().map(String::as_str).collect();
    let best = ALIASES
        .iter()
        .filter(|(theirs, _)| rest.starts_with(theirs))
        .max_by_key(|(theirs, _)| theirs.len())
        .map(|(theirs, ours)| (theirs.len(), ours.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()));
    let colons = || {
        let words: Vec<String> = arguments[at].split(':').map(str::to_owned).collect();
        (words.len() == 2 && words.iter().all(|word| !word.is_empty())).then_some((1, words))
    };
    let Some((length, ours)) = best.or_else(colons) else { return unchanged(arguments) };
    let note = (arguments[at..at + length].join(" "), ours.join(" "));
    let mut changed = arguments[..at].to_vec();
    if ours == ["--help"] || ours == ["--version"] {
        changed.extend(arguments[at + length..].iter().cloned());
        changed.extend(ours);
        return unchanged(changed);
    }
    changed.extend(ours);
    changed.extend(arguments[at + length..].iter().cloned());
    Canonical { arguments: changed, note: Some(note) }
}

/// Returns where the verb stands: the first word that is no flag and no flag's value.
fn verb_at(arguments: &[String]) -> Option<usize> {
    let mut at = 1;
    while at < arguments.len() {
        let word = arguments[at].as_str();
        if word == "--" {
            return None;
        }
        if VALUED.contains(&word) {
            at += 2;
        } else if word.starts_with('-') {
            at += 1;
        } else {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(line: &str) -> String {
        canonical(line.split(' ').map(str::to_owned).collect()).arguments.join(" ")
    }

    #[test]
    fn words_of_other_platforms_become_ours_wherever_the_verb_stands() {
        assert_eq!(turned("panda config:set A=1"), "panda env set A=1");
        assert_eq!(turned("panda -a shop ps:scale web=2"), "panda -a shop scale web=2");
        assert_eq!(turned("panda variables set A=1"), "panda env set A=1");
        assert_eq!(turned("panda secrets set A"), "panda env set --secret A");
        assert_eq!(turned("panda releases:info v1"), "panda releases info v1");
        assert_eq!(turned("panda help deploy"), "panda deploy --help");
        assert_eq!(turned("panda autoscale:set --min 2"), "panda autoscale set --min 2");
        assert_eq!(turned("panda ps:autoscale:disable"), "panda autoscale off");
        assert_eq!(turned("panda version"), "panda --version");
        assert_eq!(turned("panda config"), "panda env list");
    }

    #[test]
    fn our_own_words_and_arguments_stay() {
        for line in [
            "panda deploy",
            "panda exec -- ssh host",
            "panda run -- a:b",
            "panda -a config logs",
            "panda --json ps",
        ] {
            assert_eq!(turned(line), line);
        }
    }
}
