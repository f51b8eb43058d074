//! The user's own Dockerfile: taken as it is; what the plan can tell is read from it.

use panda_domain::failure::FailureCode;
use panda_domain::manifest::Builder;

use super::Found;
use crate::dockerfile::policy;
use crate::plan::{DockerfilePlan, PlanFailure, PlanKind, Sourced};
use crate::settings::BuildSettings;
use crate::source::SourceView;

/// Tells whether a Dockerfile decides: one is there, or the settings name one.
pub(super) fn is_one(source: &SourceView, settings: &BuildSettings) -> bool {
    settings.dockerfile.is_some() || settings.target.is_some() || source.has_file("Dockerfile")
}

pub(super) fn detect(source: &SourceView, settings: &BuildSettings) -> Result<Found, PlanFailure> {
    let path = settings.dockerfile.clone().unwrap_or_else(|| "Dockerfile".to_owned());
    let Some(text) = source.read(&path) else {
        let cause = format!("the source has no Dockerfile at `{path}`");
        let fix = if settings.builder == Builder::Dockerfile || settings.dockerfile.is_some() {
            "correct build.dockerfile in panda.toml; check that no ignore file leaves it out"
        } else {
            "remove build.target from panda.toml, or add the Dockerfile"
        };
        return Err(PlanFailure::new(FailureCode::P101, cause, fix));
    };
    policy::admit(&text).map_err(|failure| PlanFailure(Box::new(failure.failure)))?;
    let facts = Facts::read(&text, settings.target.as_deref());
    let mut warnings = Vec::new();
    if !facts.sets_user {
        warnings
            .push(format!("`{path}` sets no USER: the app runs as its base image's, which often is root"));
    }
    let port = match facts.ports.as_slice() {
        [port] => Some(Sourced::new(*port, format!("EXPOSE in {path}"))),
        _ => None,
    };
    let dockerignore = source.read(&format!("{path}.dockerignore"));
    let plan = DockerfilePlan { path, text, target: settings.target.clone(), dockerignore };
    Ok(Found {
        kind: PlanKind::Dockerfile(plan),
        start: None,
        base_images: facts.images,
        warnings,
        start_hint: "add CMD to the Dockerfile",
        port,
    })
}

/// What a Dockerfile says without being run. A line that isn't understood is the daemon's to judge.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    images: Vec<String>,
    ports: Vec<u16>,
    sets_user: bool,
}

impl Facts {
    fn read(text: &str, target: Option<&str>) -> Self {
        let mut facts = Self::default();
        let Ok(parsed) = parse_dockerfile::parse(text) else { return facts };
        let mut stages: Vec<String> = Vec::new();
        for stage in parsed.stages() {
            let name = stage.from.as_.as_ref().map(|(_, name)| name.value.to_string());
            let image = stage.from.image.value.to_string();
            if !stages.contains(&image) && image != "scratch" && !facts.images.contains(&image) {
                facts.images.push(image);
            }
            // Only the stage that becomes the image counts.
            facts.ports.clear();
            facts.sets_user = false;
            for instruction in stage.instructions {
                match instruction {
                    parse_dockerfile::Instruction::Expose(expose) => {
                        let ports = expose.arguments.iter().filter_map(|argument| port(&argument.value));
                        facts.ports.extend(ports);
                    }
                    parse_dockerfile::Instruction::User(_) => facts.sets_user = true,
                    _ => {}
                }
            }
            if target.is_some() && name.as_deref() == target {
                break;
            }
            stages.extend(name);
        }
        facts.ports.sort_unstable();
        facts.ports.dedup();
        facts
    }
}

/// Reads `3000` and `3000/tcp`; UDP and variables say nothing.
fn port(argument: &str) -> Option<u16> {
    let number = argument.strip_suffix("/tcp").unwrap_or(argument);
    number.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_or_the_target_tells_the_port() {
        let text = "FROM node:22 AS build\nEXPOSE 9000\nUSER 1\nFROM build AS api\nEXPOSE 3000/tcp 5000/udp\nFROM scratch\n";
        let last = Facts::read(text, None);
        assert_eq!((last.images, last.ports, last.sets_user), (vec!["node:22".to_owned()], vec![], false));
        assert_eq!(Facts::read(text, Some("api")).ports, [3000]);
        assert!(Facts::read(text, Some("build")).sets_user);
        assert_eq!(Facts::read("FROM x\nEXPOSE $PORT\n", None).ports, Vec::<u16>::new());
    }
}
