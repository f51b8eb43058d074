//! `Procfile`: `name: command` a line; `release` runs before a release.

use std::collections::BTreeMap;

use panda_domain::failure::FailureCode;
use panda_domain::manifest::argv_of;
use panda_domain::names::ProcessName;

use crate::plan::{PlanFailure, Sourced};
use crate::source::SourceView;

/// What a Procfile says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Procfile {
    pub(super) processes: BTreeMap<ProcessName, Sourced<Vec<String>>>,
    pub(super) release: Option<Sourced<Vec<String>>>,
}

/// Reads the Procfile; a source without one has no processes in it.
pub(super) fn read(source: &SourceView) -> Result<Procfile, PlanFailure> {
    let mut procfile = Procfile::default();
    let Some(text) = source.read("Procfile") else { return Ok(procfile) };
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: String| {
            let cause = format!("line {} of the Procfile {why}", number + 1);
            PlanFailure::new(FailureCode::P101, cause, "write `web: command`, one process a line")
        };
        let (name, command) = line.split_once(':').ok_or_else(|| wrong("has no `:`".to_owned()))?;
        let argv = argv_of(command)
            .map_err(|error| wrong(format!("has a command that {error}")))?
            .ok_or_else(|| wrong("has no command".to_owned()))?;
        let argv = Sourced::new(argv, "Procfile");
        if name.trim() == "release" {
            procfile.release = Some(argv);
            continue;
        }
        let name: ProcessName =
            name.trim().parse().map_err(|error| wrong(format!("has a bad name: {error}")))?;
        if procfile.processes.insert(name, argv).is_some() {
            return Err(wrong("names a process again".to_owned()));
        }
    }
    Ok(procfile)
}
