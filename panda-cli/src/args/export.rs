//! Taking an app away.

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda export --format compose shop-compose
  panda export -a shop --format kustomize deploy/shop
  panda export --format yaml out --force     # over what an earlier export wrote

README.md in DIR says how to start it and which secrets to fill in; their values aren't exported.")]
pub(crate) struct ExportArgs {
    /// yaml and kustomize are for any Kubernetes, compose is for any Docker
    #[arg(long, value_name = "FORMAT", value_parser = ["yaml", "kustomize", "compose"])]
    pub(crate) format: String,
    /// Write into DIR though it isn't empty, over files of the same name
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The folder for the files
    #[arg(value_name = "DIR")]
    pub(crate) directory: String,
}
