//! The token by which an installation gets its owner. The server keeps it in a file until it is used.

use std::path::PathBuf;

use anyhow::Context;

use crate::config::Config;
use crate::platform_containers::write_whole;

fn file(config: &Config) -> PathBuf {
    config.data_dir.join("run/claim-token")
}

/// Returns the token, `None` if the server never kept one.
pub(super) fn read(config: &Config) -> Option<String> {
    let text = std::fs::read_to_string(file(config)).ok()?;
    let token = text.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// Keeps the token for `panda-server install` to show; `None`, once there is an owner, takes it away.
pub(crate) fn keep(config: &Config, token: Option<&str>) -> anyhow::Result<()> {
    let file = file(config);
    match token {
        Some(token) => write_whole(&file, token),
        None => match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove the used claim token `{}`", file.display()))
            }
            _ => Ok(()),
        },
    }
}
