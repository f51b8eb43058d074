//! `panda`: the command line. Parses first, so that help costs nothing; then opens what the verb needs.
//!
//! Knows the API's words and the domain's, and no cluster and no engine: everything goes through the server.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;

mod aliases;
mod api;
mod args;
mod ask;
mod commands;
mod dotenv;
mod error;
mod follow;
mod git;
mod output;
mod pin;
mod progress;
mod sanitize;
mod session;
mod settings;
mod socket;
mod sse;
mod table;
mod target;
mod upload;
mod usage;

use args::Cli;
use error::CliError;
use output::Output;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let Ok(code) = catch_unwind(AssertUnwindSafe(run)) else {
        eprintln!(
            "error: this is a bug in panda {}\n\nhint: please report it with the command that you ran and what \
             `panda doctor` says",
            env!("CARGO_PKG_VERSION")
        );
        return ExitCode::FAILURE;
    };
    ExitCode::from(code)
}

fn run() -> u8 {
    let typed: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let json = typed.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let aliases::Canonical { arguments, note } = aliases::canonical(typed);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error, json),
    };
    let out = Output::new(cli.shared.json);
    if let Some((theirs, ours)) = note.filter(|_| !json) {
        out.say(&format!("note: `panda {theirs}` is `panda {ours}`"));
    }
    match commands::run(cli, &out) {
        Ok(()) => 0,
        Err(error) => {
            out.error(&error);
            error.exit()
        }
    }
}

fn wrong_usage(error: &clap::Error, json: bool) -> u8 {
    let out = Output::new(json);
    let Some(told) = usage::error(error) else {
        // Help goes where clap sends it; when that is closed nobody reads it.
        let _ = error.print();
        return u8::try_from(error.exit_code()).unwrap_or(error::EXIT_USAGE);
    };
    out.error(&told);
    CliError::exit(&told)
}
