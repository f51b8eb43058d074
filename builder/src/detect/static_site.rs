//! Plain files: `Staticfile`, `public/` or `index.html`.

use panda_domain::failure::FailureCode;

use super::versions::NGINX_IMAGE;
use super::{Found, settings};
use crate::plan::{PlanFailure, PlanKind, Sourced, StaticPlan};
use crate::settings::BuildSettings;
use crate::source::SourceView;

/// Tells whether the source is a site without a language.
pub(super) fn is_one(source: &SourceView, settings: &BuildSettings) -> bool {
    directory(source, settings).is_some()
}

pub(super) fn detect(source: &SourceView, settings: &BuildSettings) -> Result<Found, PlanFailure> {
    let Some(directory) = directory(source, settings) else {
        let cause = "no index.html was found, neither here nor in public/";
        return Err(PlanFailure::new(
            FailureCode::P101,
            cause,
            "set build.output in panda.toml to the directory to serve",
        ));
    };
    settings::plain_path(&directory.value).map_err(|problem| {
        let cause = format!("`{}` (from {}) {problem}", directory.value, directory.from);
        PlanFailure::new(FailureCode::P112, cause, "name a directory inside the source")
    })?;
    if !source.has_directory(&directory.value) {
        let cause =
            format!("the directory `{}` (from {}) isn't in the source", directory.value, directory.from);
        return Err(PlanFailure::new(FailureCode::P112, cause, "correct the name, or commit the directory"));
    }
    let mut warnings = Vec::new();
    if !source.has_file(&format!("{}/index.html", directory.value)) {
        warnings.push(format!("`{}` has no index.html: `/` will answer 404", directory.value));
    }
    Ok(found(
        PlanKind::Static(StaticPlan { directory, fallback: false }),
        vec![NGINX_IMAGE.to_owned()],
        warnings,
    ))
}

/// Makes the part of the plan for something that nginx serves.
pub(super) fn found(kind: PlanKind, base_images: Vec<String>, warnings: Vec<String>) -> Found {
    let start = Sourced::new(crate::dockerfile::nginx_command(), "serves the files");
    Found { kind, start: Some(start), base_images, warnings, start_hint: "", port: None }
}

fn directory(source: &SourceView, settings: &BuildSettings) -> Option<Sourced<String>> {
    if let Some(output) = &settings.output {
        return Some(Sourced::new(output.clone(), "panda.toml"));
    }
    if let Some(text) = source.read("Staticfile") {
        let root = text.lines().find_map(|line| line.trim().strip_prefix("root:")).map(str::trim);
        let root = root.filter(|root| !root.is_empty()).unwrap_or(".");
        return Some(Sourced::new(root.trim_matches(['"', '\'']).to_owned(), "Staticfile"));
    }
    if source.has_file("public/index.html") {
        return Some(Sourced::new("public".to_owned(), "public/index.html"));
    }
    source.has_file("index.html").then(|| Sourced::new(".".to_owned(), "index.html"))
}
