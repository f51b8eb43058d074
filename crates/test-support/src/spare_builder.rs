//! Another buildkitd beside the run's own: one that is fresh, small, or reached in another way, and that a test may ruin.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::process::Program;

/// Where the folder that is shared with the host lies inside the container.
pub const SHARED: &str = "/run/panda-buildkit";

/// A buildkitd in the run's build network, with the run's registry; removed with the handle.
#[derive(Debug)]
pub struct SpareBuilder {
    name: String,
    run: String,
    socket: PathBuf,
}

impl SpareBuilder {
    /// Chooses a name; nothing is started yet. `None` where the tests' ground isn't set up.
    pub fn prepare(word: &str) -> anyhow::Result<Option<Self>> {
        let Ok(run) = std::env::var("PANDA_TEST_RUN") else { return Ok(None) };
        let mut spare = Self { name: format!("{run}-{word}"), run, socket: PathBuf::new() };
        let told = spare.beside("env").output()?;
        let socket = told.lines().find_map(|line| line.strip_prefix("PANDA_TEST_BUILDKIT=unix://"));
        spare.socket = socket.context("`builder.sh env` names no socket")?.into();
        std::fs::create_dir_all(spare.shared())?;
        Ok(Some(spare))
    }

    /// Gives it a disk of its own, of this size; to be called before it starts.
    pub fn with_disk(self, megabytes: u32) -> anyhow::Result<Self> {
        let (label, size) = (format!("panda.test={}", self.name), format!("o=size={megabytes}m"));
        let options = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", &size];
        docker(&[&["volume", "create", "--label", &label], &options[..], &[&self.container()]].concat())?;
        Ok(self)
    }

    /// Starts it with these arguments of buildkitd, and waits until it answers on its socket.
    pub fn start(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.beside("up").env("PANDA_BUILDER_ARGUMENTS", arguments.join(" ")).output()?;
        Ok(())
    }

    /// Returns the address of its socket.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Returns the folder that it sees as [`SHARED`].
    pub fn shared(&self) -> &Path {
        self.socket.parent().unwrap_or(Path::new("/"))
    }

    /// Returns its address in the build network.
    pub fn ip(&self) -> anyhow::Result<String> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let shown = docker(&["inspect", "--format", format, &self.container()])?;
        Ok(shown.trim().to_owned())
    }

    /// Runs a program inside its container.
    pub fn inside(&self, program: &[&str]) -> anyhow::Result<String> {
        let container = self.container();
        let mut arguments = vec!["exec", &container];
        arguments.extend(program);
        docker(&arguments)
    }

    fn container(&self) -> String {
        format!("panda-{}-buildkitd", self.name)
    }

    fn beside(&self, verb: &str) -> Program {
        self.script(verb).env("PANDA_BUILDER_BESIDE", &self.run)
    }

    fn script(&self, verb: &str) -> Program {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ground/builder.sh");
        Program::new(script).with_own_environment().args([verb, &self.name])
    }
}

impl Drop for SpareBuilder {
    fn drop(&mut self) {
        if let Err(error) = self.script("down").output() {
            eprintln!("`{}` is left: {error:#}", self.name);
        }
    }
}

/// Returns the host's address in the run's build network: what listens there is reached by the run's builders.
pub fn build_gateway() -> anyhow::Result<String> {
    let run = std::env::var("PANDA_TEST_RUN").context("PANDA_TEST_RUN isn't set")?;
    let format = "{{range .IPAM.Config}}{{.Gateway}}{{end}}";
    let shown = docker(&["network", "inspect", "--format", format, &format!("panda-{run}-build")])?;
    Ok(shown.trim().to_owned())
}

fn docker(arguments: &[&str]) -> anyhow::Result<String> {
    Program::new("docker").with_own_environment().args(arguments.iter().copied()).output()
}
