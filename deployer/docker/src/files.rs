//! `[files]`: written into a container's own layer before it starts, so that no host path is needed.

use std::path::{Component, Path};

use bytes::Bytes;
use panda_deployer::runtime::{FileSpec, RuntimeError, RuntimeResult};

/// Kernel filesystems that must stay the kernel's.
const KERNELS: &[&str] = &["proc", "sys", "dev"];

/// Packs the files as an archive to unpack at `/`: owned by root, readable by every user in the container.
pub(crate) fn archive(files: &[FileSpec]) -> RuntimeResult<Bytes> {
    let failed = |source: std::io::Error| RuntimeError::Internal {
        doing: "pack the mounted files".to_owned(),
        source: Box::new(source),
    };
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let path = inside(&file.path)?;
        let content = file.content.reveal().as_bytes();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o444);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content).map_err(failed)?;
    }
    archive.into_inner().map(Bytes::from).map_err(failed)
}

/// Returns the path relative to the container's root, if it can only lie inside it.
fn inside(path: &str) -> RuntimeResult<&Path> {
    let refused = |reason: &str| RuntimeError::Rejected {
        doing: format!("mount file `{path}`"),
        reason: reason.to_owned(),
    };
    let relative = path.strip_prefix('/').ok_or_else(|| refused("its path isn't absolute"))?;
    let relative = Path::new(relative);
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_)));
    if !plain || relative.file_name().is_none() || path.ends_with('/') || path.contains('\0') {
        return Err(refused("its path has `..`, `.` or no file name"));
    }
    let first = relative.components().next().and_then(|c| c.as_os_str().to_str());
    if first.is_some_and(|first| KERNELS.contains(&first)) {
        return Err(refused("nothing can be mounted below /proc, /sys and /dev"));
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use panda_domain::secret::Secret;

    use super::*;

    fn file(path: &str) -> FileSpec {
        FileSpec { path: path.to_owned(), content: Secret::new("x"), secret: true }
    }

    #[test]
    fn a_path_that_leaves_the_container_or_names_no_file_is_refused() {
        for bad in
            ["etc/x", "/../etc/passwd", "/a/../../x", "/", "/a/", "/proc/sys/x", "/sys/x", "/dev/x", ""]
        {
            assert!(archive(&[file(bad)]).is_err(), "{bad:?}");
        }
        assert!(archive(&[file("/etc/app/config.toml")]).is_ok());
    }
}
