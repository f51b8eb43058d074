//! Verbs about servers, people and apps as such.

use clap::{Args, Subcommand};

use super::value;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda login                           # the server on this machine
  panda login --server https://panda.example.com
  panda login --server https://panda.localhost --trust-local-ca
  echo \"$TOKEN\" | panda login --token -

A server with an authority of its own shows its fingerprint; compare it with the one that
the server printed at its first start, or pass that one as --ca-fingerprint.
In CI, set PANDA_SERVER and PANDA_TOKEN instead; PANDA_CA_FILE names the authority.")]
pub(crate) struct LoginArgs {
    /// Use this API token; `-` reads it from stdin
    #[arg(long, value_name = "TOKEN", conflicts_with = "device")]
    pub(crate) token: Option<String>,
    /// Show a code to approve in any browser (this is the default)
    #[arg(long)]
    pub(crate) device: bool,
    /// Trust the server's own authority if it has this SHA-256 fingerprint
    #[arg(long, value_name = "HEX")]
    pub(crate) ca_fingerprint: Option<String>,
    /// Trust the server's own authority without comparing
    #[arg(long)]
    pub(crate) trust_local_ca: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppsCommand {
    /// List apps
    #[command(visible_alias = "ls", after_help = "Example:\n  panda apps list --json")]
    List {
        /// Only of this project
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Make an app without deploying
    #[command(after_help = "Example:\n  panda apps create shop --project web")]
    Create {
        /// The app's name
        #[arg(value_name = "APP")]
        name: String,
        /// The project; made if absent
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  panda destroy shop --confirm shop")]
pub(crate) struct DestroyArgs {
    /// The app's name
    #[arg(value_name = "APP")]
    pub(crate) name: String,
    /// The app's name once more
    #[arg(long, value_name = "APP")]
    pub(crate) confirm: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Make a token; its secret is shown once
    #[command(after_help = "Examples:
  panda tokens create ci --scope deploy:shop --ttl 30
  panda tokens create dashboard --scope read")]
    Create {
        /// A name for lists
        #[arg(value_name = "NAME")]
        name: String,
        /// What it may do: full, read or deploy:APP
        #[arg(long, value_name = "SCOPE", default_value = "full")]
        scope: String,
        /// Days until it ends, 1 to 365
        #[arg(long, value_name = "DAYS", value_parser = value::days, allow_negative_numbers = true)]
        ttl: Option<u32>,
    },
    /// List tokens
    #[command(visible_alias = "ls")]
    List,
    /// End a token at once
    #[command(visible_alias = "rm", after_help = "Example:\n  panda tokens revoke tok_01abc")]
    Revoke {
        /// Its id or name
        #[arg(value_name = "TOKEN")]
        token: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda doctor
  panda doctor shop")]
pub(crate) struct DoctorArgs {
    /// Look at this app too
    #[arg(value_name = "APP")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda completion bash > /etc/bash_completion.d/panda
  panda completion zsh > \"${fpath[1]}/_panda\"")]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda login --server https://panda.new.example.com    # once; then the old server again
  panda move --server https://panda.old.example.com --to-server https://panda.new.example.com -a shop
  panda move --to-server https://panda.new.example.com --project web

Takes image, env, secrets, scale, domains and the release's settings along. Secrets are sealed by the one
server for the other; neither this program nor the network sees them. The old server isn't changed, and a
second run carries on where the first one stopped. Needs an administrator on both servers.")]
pub(crate) struct MoveArgs {
    /// The server that it goes to; sign in to it once before
    #[arg(long, value_name = "URL")]
    pub(crate) to_server: String,
    /// Every app of this project, instead of one app
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
}
