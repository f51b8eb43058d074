//! Verbs that make releases.

use clap::Args;

use super::value;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda deploy                          # this directory, everything detected
  panda deploy ./api --replicas 3
  panda deploy --image nginx:1.29 --port 80
  panda deploy --env LOG_LEVEL=debug --json | tail -n 1
  panda deploy --detach                 # don't wait; follow with: panda status --wait

Ctrl-C leaves the deployment running. Exit codes: 0 live or unchanged, 10 build failed,
11 not healthy and rolled back, 12 canceled or overtaken by a newer one.")]
pub(crate) struct DeployArgs {
    /// The directory
    #[arg(default_value = ".", value_name = "PATH")]
    pub(crate) path: String,
    /// Deploy this image instead of a directory
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) image: Option<String>,
    /// Instances of `web`, from now on
    #[arg(long, value_name = "N", value_parser = value::replicas, allow_negative_numbers = true)]
    pub(crate) replicas: Option<u32>,
    /// Set a plain variable, from now on; may be repeated
    #[arg(long = "env", value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// The port that `web` listens on
    #[arg(long, value_name = "PORT", value_parser = value::port, allow_negative_numbers = true)]
    pub(crate) port: Option<u16>,
    /// Build even though nothing changed, without caches
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Make the app if it doesn't exist, without asking; needed in scripts when -a or a link names it
    #[arg(long)]
    pub(crate) create: bool,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FollowArgs {
    /// Return as soon as the server has accepted it
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda init
  panda init --name shop")]
pub(crate) struct InitArgs {
    /// The app's name [default: the directory's]
    #[arg(long, value_name = "APP")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda link shop
  panda link shop -e staging")]
pub(crate) struct LinkArgs {
    /// The app's name
    #[arg(value_name = "APP")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda build --plan
  panda build --eject ./api             # writes Dockerfile and .dockerignore")]
pub(crate) struct BuildArgs {
    /// The directory
    #[arg(default_value = ".", value_name = "PATH")]
    pub(crate) path: String,
    /// Show the plan (this is the default)
    #[arg(long, conflicts_with = "eject")]
    pub(crate) plan: bool,
    /// Write the generated Dockerfile into the directory, to be yours
    #[arg(long)]
    pub(crate) eject: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda cancel
  panda cancel dep_01abc")]
pub(crate) struct CancelArgs {
    /// The deployment's id [default: the one that is going on]
    #[arg(value_name = "DEPLOYMENT")]
    pub(crate) deployment: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda rollback                        # to the good release before the present one
  panda rollback v41")]
pub(crate) struct RollbackArgs {
    /// The release, such as v41
    #[arg(value_name = "RELEASE")]
    pub(crate) release: Option<String>,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
}
