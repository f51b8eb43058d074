//! `[files]`: how they are mounted, each over one path, so that the rest of its directory stays the image's.

use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount};
use panda_deployer::runtime::{FileSpec, RuntimeError, RuntimeResult};

/// Kernel filesystems that must stay the kernel's.
const KERNELS: &[&str] = &["proc", "sys", "dev"];
/// Readable by every user in the container, writable by none.
pub(crate) const MODE: i32 = 0o444;
/// Volumes of the pod.
const SECRETS: &str = "secret-files";
const TEXTS: &str = "files";

/// A file with the key that its content has in a secret or a config map.
#[derive(Debug, Clone, Copy)]
pub struct Keyed<'a> {
    /// The file.
    pub file: &'a FileSpec,
    index: usize,
}

impl Keyed<'_> {
    /// Returns the key. No variable can have it: variables' names have no dash.
    pub fn key(&self) -> String {
        format!("file-{}", self.index)
    }
}

/// Gives each file its key; refuses paths that aren't those of a file inside of the container.
pub fn keyed(files: &[FileSpec]) -> RuntimeResult<Vec<Keyed<'_>>> {
    let keyed = files.iter().enumerate().map(|(index, file)| {
        check(&file.path)?;
        Ok(Keyed { file, index })
    });
    keyed.collect()
}

/// Returns the volumes and where they are mounted. Secret files lie in the secret `name`, others in the config map `name`.
pub fn mounts(files: &[Keyed<'_>], name: &str) -> (Vec<Volume>, Vec<VolumeMount>) {
    let items = |secret: bool| {
        let of_kind = files.iter().filter(|keyed| keyed.file.secret == secret);
        of_kind.map(|keyed| KeyToPath { key: keyed.key(), path: keyed.key(), mode: None }).collect::<Vec<_>>()
    };
    let secrets = Some(items(true)).filter(|items| !items.is_empty()).map(|items| Volume {
        name: SECRETS.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name.to_owned()),
            default_mode: Some(MODE),
            items: Some(items),
            optional: None,
        }),
        ..Volume::default()
    });
    let texts = Some(items(false)).filter(|items| !items.is_empty()).map(|items| Volume {
        name: TEXTS.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: name.to_owned(),
            default_mode: Some(MODE),
            items: Some(items),
            optional: None,
        }),
        ..Volume::default()
    });
    (secrets.into_iter().chain(texts).collect(), files.iter().map(mount).collect())
}

fn mount(keyed: &Keyed<'_>) -> VolumeMount {
    VolumeMount {
        name: if keyed.file.secret { SECRETS } else { TEXTS }.to_owned(),
        mount_path: keyed.file.path.clone(),
        sub_path: Some(keyed.key()),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// Refuses what isn't the path of a file inside of the container.
pub(crate) fn check(path: &str) -> RuntimeResult<()> {
    let refused = |reason: &str| RuntimeError::Rejected {
        doing: format!("mount file `{path}`"),
        reason: reason.to_owned(),
    };
    let relative = path.strip_prefix('/').ok_or_else(|| refused("its path isn't absolute"))?;
    let relative = Path::new(relative);
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_)));
    if !plain || relative.file_name().is_none() || path.ends_with('/') || path.contains(['\0', ':']) {
        return Err(refused("its path has `..`, `.`, a colon or no file name"));
    }
    let first = relative.components().next().and_then(|c| c.as_os_str().to_str());
    if first.is_some_and(|first| KERNELS.contains(&first)) {
        return Err(refused("nothing can be mounted below /proc, /sys and /dev"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use panda_domain::secret::Secret;

    use super::*;

    #[test]
    fn a_path_that_leaves_the_container_or_names_no_file_is_refused() {
        let file = |path: &str| FileSpec { path: path.to_owned(), content: Secret::new("x"), secret: true };
        for bad in [
            "etc/x",
            "/../etc/passwd",
            "/a/../../x",
            "/",
            "/a/",
            "/proc/sys/x",
            "/sys/x",
            "/dev/x",
            "",
            "/a:b",
        ] {
            assert!(keyed(&[file(bad)]).is_err(), "{bad:?}");
        }
        assert!(keyed(&[file("/etc/app/config.toml")]).is_ok());
    }
}
