//! What a container may not do.

use bollard::models::HostConfig;
use panda_deployer::runtime::{ImageUser, RuntimeError};

/// The user that images of our detectors run as.
pub(crate) const USER: &str = "10001:10001";

/// What a foreign image that runs as root keeps: enough to hand its files to its own user and to step down to it.
pub(crate) const ROOT_KEEPS: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "KILL", "NET_BIND_SERVICE"];

/// Takes away what no app needs. Seccomp, AppArmor and the number of open files stay the engine's defaults by saying
/// nothing: an engine can't give a limit above its own, so that a figure of ours would keep apps from starting.
pub(crate) fn apply(config: &mut HostConfig, user: ImageUser, root: bool) {
    config.privileged = Some(false);
    config.security_opt = Some(vec!["no-new-privileges".to_owned()]);
    config.cap_drop = Some(vec!["ALL".to_owned()]);
    let keeps = if root && user == ImageUser::Foreign { &ROOT_KEEPS[..] } else { &[] };
    config.cap_add = Some(keeps.iter().map(|&cap| cap.to_owned()).collect());
}

/// Returns the user to run as, `None` for the image's own.
pub(crate) fn user(user: ImageUser) -> Option<String> {
    (user == ImageUser::Built).then(|| USER.to_owned())
}

/// Tells whether an image's `USER` is root.
pub(crate) fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    matches!(name, "" | "root") || name.parse::<u32>() == Ok(0)
}

/// Refuses an image that runs as root, for a team that doesn't allow it.
pub(crate) fn refuse_root(image: &str) -> RuntimeError {
    RuntimeError::Rejected {
        doing: format!("run image `{image}`"),
        reason:
            "it runs as root, which this team refuses; add `USER 10001` to its Dockerfile or let an admin \
                 lift the team's setting `security = restricted`"
                .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_all_its_spellings() {
        for root in ["", "root", "0", "0:0", "root:root", "00"] {
            assert!(is_root(root), "{root:?}");
        }
        for other in ["node", "10001", "1000:0", "app:app"] {
            assert!(!is_root(other), "{other:?}");
        }
    }
}
