//! What `tests/ground/test.sh` has set up, and where the binaries are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use panda_test_support::skip::skip;

/// The surroundings of one run. Each field is explained in docs/testing.md.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The run's name.
    pub run: String,
    /// A folder of the run.
    pub folder: PathBuf,
    /// The engine's socket, without `unix://`.
    pub docker: PathBuf,
    /// BuildKit's address.
    pub buildkit: String,
    /// The registry as BuildKit sees it.
    pub push: String,
    /// The registry as the engine sees it.
    pub pull: String,
    /// The file with that registry's key.
    pub registry_key: PathBuf,
    /// Prefix of the test images.
    pub images: String,
    /// Superuser's URL of a PostgreSQL.
    pub postgres: String,
    /// The full matrix is wanted.
    pub long: bool,
}

impl Ground {
    /// Returns the registry of the test images, which lies on a private address.
    pub fn image_host(&self) -> &str {
        self.images.split('/').next().unwrap_or_default()
    }

    /// Returns the ground, or skips the test of this name.
    pub fn or_skip(test: &str) -> Option<Self> {
        match Self::read() {
            Ok(ground) => Some(ground),
            Err(missing) => {
                skip(test, &format!("{missing} isn't set: run tests/ground/test.sh -p panda-e2e"));
                None
            }
        }
    }

    fn read() -> Result<Self, &'static str> {
        let get = |name: &'static str| std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or(name);
        let docker = get("PANDA_TEST_DOCKER")?;
        Ok(Self {
            run: get("PANDA_TEST_RUN")?,
            folder: get("PANDA_TEST_DIR")?.into(),
            docker: docker.strip_prefix("unix://").unwrap_or(&docker).into(),
            buildkit: get("PANDA_TEST_BUILDKIT")?,
            push: get("PANDA_TEST_BUILD_PUSH")?,
            pull: get("PANDA_TEST_REGISTRY")?,
            registry_key: get("PANDA_TEST_REGISTRY_KEY")?.into(),
            images: get("PANDA_TEST_IMAGES")?,
            postgres: get("PANDA_TEST_POSTGRES")?,
            long: std::env::var("PANDA_TEST_LONG").is_ok_and(|value| value == "1"),
        })
    }

    /// Returns a program of the ground: `PANDA_TEST_PEBBLE` and the like.
    pub fn program(variable: &str) -> anyhow::Result<PathBuf> {
        std::env::var_os(variable).map(PathBuf::from).with_context(|| format!("{variable} isn't set"))
    }
}

/// Returns the repository's folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository")
}

/// Returns a binary of the workspace: from `PANDA_TEST_BINARIES` if that is set, else from the folder that this test was built
/// into.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("PANDA_TEST_BINARIES") {
        return Ok(Path::new(&folder).join(name));
    }
    let own = std::env::current_exe()?;
    // target/debug/deps/it-<hash>
    let folder = own.parent().and_then(Path::parent).context("the test's own path has no target folder")?;
    let path = folder.join(name);
    if !path.is_file() {
        bail!("`{}` isn't built: run `cargo build --workspace --bins` first", path.display());
    }
    Ok(path)
}
