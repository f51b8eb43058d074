//! The grammar of the command line. Parsing does nothing else: no network, no files.

use clap::{Args, Parser, Subcommand};

mod app;
mod deploy;
mod export;
mod run;
mod team;
mod value;

pub(crate) use app::{
    AutoscaleArgs, AutoscaleCommand, CertsCommand, DomainsCommand, EnvCommand, ReleasesArgs, ReleasesCommand,
    ScaleArgs,
};
pub(crate) use deploy::{BuildArgs, CancelArgs, DeployArgs, FollowArgs, InitArgs, LinkArgs, RollbackArgs};
pub(crate) use export::ExportArgs;
pub(crate) use run::{EventsArgs, ExecArgs, LogsArgs, OpenArgs, RunArgs, StatusArgs};
pub(crate) use team::{
    AppsCommand, CompletionArgs, DestroyArgs, DoctorArgs, LoginArgs, MoveArgs, TokensCommand,
};
pub(crate) use value::{WrongValue, replicas};

/// From a directory to a live HTTPS URL, on your own servers.
#[derive(Debug, Parser)]
#[command(
    name = "panda",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Start here:
  panda login --server https://panda.example.com
  panda deploy                 # in the directory of an app
  panda logs -f

Every verb takes --help. Errors are explained at <server>/docs/errors."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags that every verb takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Shared options")]
pub(crate) struct Shared {
    /// The app [default: PANDA_APP, then the linked directory's, then `app` in panda.toml]
    #[arg(short, long, global = true, value_name = "APP", env = "PANDA_APP", hide_env = true)]
    pub(crate) app: Option<String>,
    /// The environment [default: PANDA_ENVIRONMENT, then the linked directory's, then production]
    #[arg(short, long, global = true, value_name = "ENV", env = "PANDA_ENVIRONMENT", hide_env = true)]
    pub(crate) environment: Option<String>,
    /// Print JSON on stdout; errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Answer yes to every question
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// The server [default: PANDA_SERVER, then the linked directory's, then that of the last login]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Sign in to a server, by a browser or with a token
    Login(LoginArgs),
    /// Forget the token of the current server
    #[command(after_help = "Example:\n  panda logout --server https://panda.example.com")]
    Logout,
    /// Show who is signed in, and where
    #[command(after_help = "Example:\n  panda whoami --json")]
    Whoami,
    /// Write a commented panda.toml
    Init(InitArgs),
    /// Make this directory stand for an app
    Link(LinkArgs),
    /// Undo `panda link`
    #[command(after_help = "Example:\n  panda unlink")]
    Unlink,
    /// Deploy a directory or an image
    #[command(visible_alias = "up")]
    Deploy(DeployArgs),
    /// Show how a directory would be built, without building
    Build(BuildArgs),
    /// Cancel a deployment that is going on
    Cancel(CancelArgs),
    /// List the instances of an app
    #[command(after_help = "Examples:\n  panda ps\n  panda ps -a shop --json")]
    Ps,
    /// Show an app at a glance
    Status(StatusArgs),
    /// Show or follow logs
    Logs(LogsArgs),
    /// Read and change environment variables and secrets
    Env {
        #[command(subcommand)]
        command: Option<EnvCommand>,
    },
    /// Change how many instances run, and their size
    Scale(ScaleArgs),
    /// Let the number of instances follow the load, on Kubernetes
    Autoscale(AutoscaleArgs),
    /// List releases, look into one, compare two
    Releases(ReleasesArgs),
    /// Go back to an earlier release, without building
    Rollback(RollbackArgs),
    /// Replace all instances by new ones of the same release
    #[command(after_help = "Example:\n  panda restart -a shop")]
    Restart(FollowArgs),
    /// Run a command in a running instance
    Exec(ExecArgs),
    /// Run a one-off command in the release that serves
    Run(RunArgs),
    /// Own domains and their certificates
    Domains {
        #[command(subcommand)]
        command: DomainsCommand,
    },
    /// Certificates of your own, in the place of those that are ordered
    Certs {
        #[command(subcommand)]
        command: Option<CertsCommand>,
    },
    /// List the TCP ports at which the world reaches an app
    #[command(after_help = "Examples:\n  panda ports\n  panda ports -a shop --json")]
    Ports,
    /// Open the app in a browser
    Open(OpenArgs),
    /// Show what happened, and who did it
    Events(EventsArgs),
    /// Show the objects that Panda generated for an app
    #[command(after_help = "Example:\n  panda manifest -a shop > generated.yaml")]
    Manifest,
    /// Take an app away as plain files that need no Panda
    Export(ExportArgs),
    /// List and make apps
    Apps {
        #[command(subcommand)]
        command: Option<AppsCommand>,
    },
    /// Take an app, or a project, to another server
    Move(MoveArgs),
    /// Remove an app with all its releases
    Destroy(DestroyArgs),
    /// API tokens, for CI
    Tokens {
        #[command(subcommand)]
        command: Option<TokensCommand>,
    },
    /// Look for what is wrong: here, on the server, with an app
    Doctor(DoctorArgs),
    /// Print the completion script of a shell
    Completion(CompletionArgs),
}
