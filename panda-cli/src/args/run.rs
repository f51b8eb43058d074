//! Verbs that look at what runs, and run more.

use clap::Args;

use super::value;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda status
  panda status --wait                   # until the newest deployment has ended; exits like deploy")]
pub(crate) struct StatusArgs {
    /// Follow the newest deployment to its end
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda logs -f
  panda logs --since 1h -p worker
  panda logs -n 500 --json
  panda logs --build                    # of the newest deployment
  panda logs --build dep_01abc")]
pub(crate) struct LogsArgs {
    /// Go on as lines come in
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only lines of this last time, such as 10m or 2h, or after a moment (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// At most so many of the newest lines
    #[arg(short = 'n', long = "lines", value_name = "N", value_parser = value::lines, allow_negative_numbers = true)]
    pub(crate) lines: Option<u32>,
    /// Only this process
    #[arg(short, long, value_name = "PROCESS")]
    pub(crate) process: Option<String>,
    /// Only this instance
    #[arg(short, long, value_name = "INSTANCE", conflicts_with = "process")]
    pub(crate) instance: Option<String>,
    /// The log of a build instead
    #[arg(long, value_name = "DEPLOYMENT", num_args = 0..=1, default_missing_value = "newest")]
    pub(crate) build: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda exec                            # a shell in any ready instance of web
  panda exec -p worker -- node -e 'console.log(1)'
  tar c data | panda exec -- tar x -C /tmp

Panda's own options come before the command. Exits with the command's own code; 127 when
it isn't in the image.")]
pub(crate) struct ExecArgs {
    /// In this process
    #[arg(short, long, value_name = "PROCESS")]
    pub(crate) process: Option<String>,
    /// In this instance
    #[arg(short, long, value_name = "INSTANCE")]
    pub(crate) instance: Option<String>,
    /// The command, with its own arguments [default: sh, on a terminal]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda run -- npm run migrate
  panda run --detach -- python import.py big.csv
  panda run --timeout 2h -- ./backfill

Panda's own options come before the command. Exits with the command's own code.")]
pub(crate) struct RunArgs {
    /// Start it and return
    #[arg(long)]
    pub(crate) detach: bool,
    /// Kill it after this time, such as 30m [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// The command, with its own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda open
  panda open /admin
  curl \"$(panda open --print)\"")]
pub(crate) struct OpenArgs {
    /// A path of the app
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Print the address instead
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  panda events
  panda events -f -a shop")]
pub(crate) struct EventsArgs {
    /// Go on as things happen
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// So many of the newest
    #[arg(short = 'n', long = "lines", value_name = "N", default_value = "50", value_parser = value::lines, allow_negative_numbers = true)]
    pub(crate) lines: u32,
}
