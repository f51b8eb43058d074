//! Small JSON files that are either as before or as after a change, never between.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use panda_deployer::runtime::{RuntimeError, RuntimeResult};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One file of the state folder.
#[derive(Debug, Clone)]
pub(crate) struct StateFile(PathBuf);

impl StateFile {
    /// Names a file; nothing is read yet.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self(folder.join(name))
    }

    /// Reads it. An absent file is `None`; one that can't be understood is an error, never guessed at.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> RuntimeResult<Option<T>> {
        match fs::read(&self.0) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| self.failed("read", error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    /// Replaces it; returns once it is on disk.
    pub(crate) fn write<T: Serialize>(&self, value: &T) -> RuntimeResult<()> {
        let bytes = serde_json::to_vec(value).map_err(|error| self.failed("write", error))?;
        self.replace(&bytes).map_err(|error| self.failed("write", error))
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.0.parent().expect("a state file lies in the state folder");
        fs::create_dir_all(folder)?;
        let next = self.0.with_extension("next");
        let mut file = fs::File::create(&next)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&next, &self.0)
    }

    fn failed(&self, verb: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RuntimeError {
        RuntimeError::Internal { doing: format!("{verb} `{}`", self.0.display()), source: error.into() }
    }
}

/// A value that is kept in a file and in memory, both the same after each change.
#[derive(Clone)]
pub(crate) struct Kept<T> {
    value: Arc<Mutex<T>>,
    file: StateFile,
}

impl<T> Kept<T>
where
    T: Clone + PartialEq + Default + Serialize + DeserializeOwned + Send + 'static,
{
    /// Reads the file; an absent one stands for the default.
    pub(crate) fn open(file: StateFile) -> RuntimeResult<Self> {
        let value = file.read()?.unwrap_or_default();
        Ok(Self { value: Arc::new(Mutex::new(value)), file })
    }

    /// Looks at the value.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes value and file as one, or neither; a blocking thread holds the lock while it writes.
    pub(crate) async fn change<R: Send + 'static>(
        &self,
        change: impl FnOnce(&mut T) -> RuntimeResult<R> + Send + 'static,
    ) -> RuntimeResult<R> {
        let this = self.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let mut value = this.value.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = value.clone();
            let outcome = change(&mut next)?;
            if next != *value {
                this.file.write(&next)?;
                *value = next;
            }
            Ok(outcome)
        });
        let lost = |error| RuntimeError::Internal { doing: "keep state".to_owned(), source: Box::new(error) };
        changed.await.unwrap_or_else(|error| Err(lost(error)))
    }
}
