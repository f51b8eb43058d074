//! Verbs that change an app without building.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{FollowArgs, value};

#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// Set variables: KEY=VALUE, or KEY to be asked for the value, or KEY - to read it from stdin
    #[command(after_help = "Examples:
  panda env set LOG_LEVEL=debug REGION=eu
  panda env set --secret STRIPE_KEY     # asks, without echo
  pass show stripe | panda env set --secret STRIPE_KEY -
  panda env set --no-deploy A=1         # from the next deploy on")]
    Set {
        /// Variables
        #[arg(required = true, value_name = "KEY[=VALUE]", allow_hyphen_values = false)]
        items: Vec<String>,
        /// Write-only from now on: never shown again
        #[arg(long)]
        secret: bool,
        /// Keep it for the next deploy
        #[arg(long)]
        no_deploy: bool,
        #[command(flatten)]
        follow: FollowArgs,
    },
    /// Remove variables
    #[command(visible_alias = "rm", after_help = "Example:\n  panda env unset LOG_LEVEL")]
    Unset {
        /// Names
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        /// Keep it for the next deploy
        #[arg(long)]
        no_deploy: bool,
        #[command(flatten)]
        follow: FollowArgs,
    },
    /// List variables
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  panda env list\n  panda env list --reveal --json"
    )]
    List {
        /// Show the values of plain variables; this is recorded
        #[arg(long)]
        reveal: bool,
    },
    /// Print the value of a plain variable
    #[command(after_help = "Example:\n  panda env get LOG_LEVEL")]
    Get {
        /// Its name
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Set the variables of a .env file; those that it doesn't name stay
    #[command(after_help = "Examples:
  panda env import .env.production
  panda env import .env.production --dry-run
  panda env import - --secret < secrets.env")]
    Import {
        /// The file; `-` is stdin [default: .env]
        #[arg(value_name = "FILE", conflicts_with = "from")]
        file: Option<String>,
        /// The file, as other tools name it
        #[arg(short, long = "file", value_name = "FILE", hide = true)]
        from: Option<String>,
        /// Make all of them write-only
        #[arg(long)]
        secret: bool,
        /// Leave variables as they are that are set already
        #[arg(long)]
        keep: bool,
        /// Show what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Keep it for the next deploy
        #[arg(long)]
        no_deploy: bool,
        #[command(flatten)]
        follow: FollowArgs,
    },
    /// Write plain variables into a .env file
    #[command(after_help = "Examples:\n  panda env pull\n  panda env pull .env.staging -e staging")]
    Pull {
        /// The file; `-` is stdout
        #[arg(value_name = "FILE", default_value = ".env")]
        file: String,
    },
    /// Show who changed what, when
    #[command(after_help = "Example:\n  panda env history")]
    History,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda scale 3                         # web, or the only process
  panda scale web=3 worker=1
  panda scale web=0                     # stops it
  panda scale web --cpu 0.5 --memory 1Gi
  panda scale                           # shows it")]
pub(crate) struct ScaleArgs {
    /// A number, PROCESS=NUMBER, or PROCESS
    #[arg(value_name = "PROCESS=N", allow_negative_numbers = true)]
    pub(crate) items: Vec<String>,
    /// Cores for each instance, such as 0.5 or 250m
    #[arg(long, value_name = "CORES")]
    pub(crate) cpu: Option<String>,
    /// Memory for each instance, such as 512Mi
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda autoscale                       # bounds, loads and numbers as they are now
  panda autoscale set --min 2 --max 10 --cpu 70 --memory 80
  panda autoscale set --min 1 --max 4 -p worker
  panda autoscale off                   # as many stay as there are

While it is on, the number is the cluster's: `panda scale web=3` is refused, sizes can be changed.")]
pub(crate) struct AutoscaleArgs {
    /// The process [default: web, or the only one]
    #[arg(short, long, global = true, value_name = "PROCESS", display_order = 50)]
    pub(crate) process: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<AutoscaleCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AutoscaleCommand {
    /// Set the bounds and the loads to hold, instead of those before
    #[command(after_help = "Example:\n  panda autoscale set --min 2 --max 10 --cpu 70 --memory 80")]
    Set {
        /// The fewest instances
        #[arg(long, value_name = "N", value_parser = value::bound, allow_negative_numbers = true)]
        min: u32,
        /// The most
        #[arg(long, value_name = "N", value_parser = value::bound, allow_negative_numbers = true)]
        max: u32,
        /// Percent of each instance's cores to hold [default: 70, unless --memory is given]
        #[arg(long, value_name = "PERCENT", value_parser = value::percent, allow_negative_numbers = true)]
        cpu: Option<u32>,
        /// Percent of each instance's memory to hold
        #[arg(long, value_name = "PERCENT", value_parser = value::percent, allow_negative_numbers = true)]
        memory: Option<u32>,
    },
    /// Fix the number at what it is now
    #[command(visible_alias = "unset", after_help = "Example:\n  panda autoscale off -p worker")]
    Off,
}

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  panda releases
  panda releases info v42
  panda releases diff v41 v42"
)]
pub(crate) struct ReleasesArgs {
    /// So many of the newest
    #[arg(short = 'n', long = "lines", value_name = "N", default_value = "20", value_parser = value::lines, allow_negative_numbers = true)]
    pub(crate) lines: u32,
    #[command(subcommand)]
    pub(crate) command: Option<ReleasesCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReleasesCommand {
    /// Show one release
    Info {
        /// Such as v42
        #[arg(value_name = "RELEASE")]
        release: String,
    },
    /// Compare two releases; the second one is the newest unless given
    Diff {
        /// Such as v41
        #[arg(value_name = "FROM")]
        from: String,
        /// Such as v42
        #[arg(value_name = "TO")]
        to: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DomainsCommand {
    /// Add a domain; prints the DNS records to set
    #[command(
        after_help = "Examples:\n  panda domains add api.example.com\n  panda domains add example.com --path /api"
    )]
    Add {
        /// The host name
        #[arg(value_name = "HOST")]
        host: String,
        /// Only paths that begin so
        #[arg(long, value_name = "PATH")]
        path: Option<String>,
    },
    /// Look at DNS and the certificate again; exits 6 while something is wrong
    #[command(after_help = "Example:\n  panda domains verify api.example.com")]
    Verify {
        /// The host name
        #[arg(value_name = "HOST")]
        host: String,
    },
    /// List domains
    #[command(visible_alias = "ls")]
    List,
    /// Remove a domain
    #[command(visible_alias = "rm", after_help = "Example:\n  panda domains remove api.example.com")]
    Remove {
        /// The host name
        #[arg(value_name = "HOST")]
        host: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Give a certificate for a domain, or for those that a wildcard covers; replaces one that was given before
    #[command(after_help = "Examples:
  panda certs add www.example.com --cert fullchain.pem --key privkey.pem
  panda certs add '*.example.com' --cert fullchain.pem --key privkey.pem -a shop")]
    Add {
        /// A verified domain of the app, or a wildcard over some
        #[arg(value_name = "HOST")]
        host: String,
        /// The chain as PEM, the host's own certificate first
        #[arg(long, value_name = "FILE")]
        cert: PathBuf,
        /// Its private key as PEM, without a passphrase; never shown again
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// List the certificates that were given
    #[command(visible_alias = "ls", after_help = "Example:\n  panda certs list -a shop")]
    List,
    /// Show what a certificate says; never its key
    #[command(visible_alias = "info", after_help = "Example:\n  panda certs show www.example.com")]
    Show {
        /// The host or wildcard
        #[arg(value_name = "HOST")]
        host: String,
    },
    /// Forget a certificate and its key; one is ordered in its place
    #[command(visible_alias = "rm", after_help = "Example:\n  panda certs remove www.example.com --confirm")]
    Remove {
        /// The host or wildcard that it was given for
        #[arg(value_name = "HOST")]
        host: String,
        /// Don't ask
        #[arg(long)]
        confirm: bool,
    },
}
