//! What the CLI remembers: logins in the user's config folder, and what a directory stands for.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use panda_api_types::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::error::{CliError, Result};

/// All logins of this user.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Logins {
    /// The address of the server of the last login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// Address → login.
    #[serde(default)]
    pub(crate) servers: BTreeMap<String, Login>,
}

/// A login at one server. Has no `Debug`, because of the token.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Login {
    /// The API token.
    pub(crate) token: String,
    /// Whose, for people.
    #[serde(default)]
    pub(crate) email: String,
    /// The server's own authority, PEM, pinned at login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
}

/// What a directory stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// The app's name.
    pub(crate) app: String,
    /// The environment, if not `production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) environment: Option<String>,
    /// The server's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
}

/// Returns the file that logins are kept in.
pub(crate) fn logins_path() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("PANDA_CONFIG_DIR") {
        return Ok(PathBuf::from(folder).join("logins.toml"));
    }
    let strategy = etcetera::choose_base_strategy().map_err(|_| {
        CliError::new(ErrorCode::InvalidRequest, "this user has no home directory")
            .hint("set PANDA_CONFIG_DIR to a folder for logins")
    })?;
    Ok(strategy.config_dir().join("panda").join("logins.toml"))
}

impl Logins {
    /// Reads the logins; none when there is no file.
    pub(crate) fn load() -> Result<Self> {
        let path = logins_path()?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CliError::file("read", &path, &error)),
        };
        toml::from_str(&text).map_err(|error| {
            let detail = format!("`{}` is broken: {}", path.display(), error.message());
            CliError::new(ErrorCode::InvalidRequest, detail).hint("remove the file and run `panda login`")
        })
    }

    /// Writes the logins, readable by this user alone; a crash leaves the old file.
    pub(crate) fn save(&self) -> Result<()> {
        let path = logins_path()?;
        let folder = path.parent().expect("the path ends in a file name");
        fs::create_dir_all(folder).map_err(|error| CliError::file("make", folder, &error))?;
        let text = toml::to_string(self).expect("logins are plain text");
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| CliError::file("write", &path, &error))
    }
}

/// Tells whether others on this machine could read the logins.
pub(crate) fn logins_are_exposed() -> bool {
    logins_path()
        .ok()
        .and_then(|path| fs::metadata(path).ok())
        .is_some_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

impl Link {
    /// Finds the link of a directory: its own or that of the nearest one above.
    pub(crate) fn find(from: &Path) -> Result<Option<(PathBuf, Self)>> {
        for directory in from.ancestors() {
            let path = directory.join(".panda").join("link.toml");
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let link = toml::from_str(&text).map_err(|error| {
                        let detail = format!("`{}` is broken: {}", path.display(), error.message());
                        CliError::new(ErrorCode::InvalidRequest, detail)
                            .hint("remove the file and run `panda link APP`")
                    })?;
                    return Ok(Some((directory.to_owned(), link)));
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(CliError::file("read", &path, &error)),
            }
        }
        Ok(None)
    }

    /// Writes the link of a directory; git doesn't see it.
    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        let folder = directory.join(".panda");
        let text = toml::to_string(self).expect("a link is plain text");
        let written = fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join(".gitignore"), "*\n"))
            .and_then(|()| fs::write(folder.join("link.toml"), text));
        written.map_err(|error| CliError::file("write", &folder, &error))
    }
}

/// Removes the link of exactly this directory; `false` when there was none.
pub(crate) fn unlink(directory: &Path) -> Result<bool> {
    let folder = directory.join(".panda");
    match fs::remove_file(folder.join("link.toml")) {
        Ok(()) => {
            // What is left is our own .gitignore; a folder with more in it stays.
            let _ = fs::remove_file(folder.join(".gitignore"));
            let _ = fs::remove_dir(&folder);
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CliError::file("remove", &folder, &error)),
    }
}
