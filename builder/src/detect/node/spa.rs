//! Pages that are built once and then served as files.

use super::Package;
use crate::plan::{Sourced, StaticPlan};
use crate::settings::BuildSettings;
use crate::source::SourceView;

/// A page and what builds it.
pub(super) struct Page {
    pub(super) framework: String,
    pub(super) files: StaticPlan,
    /// Whether nothing speaks for a server.
    pub(super) certain: bool,
}

/// Tells whether a start script only serves files while somebody works on them.
pub(super) fn is_development_server(script: &str) -> bool {
    const SERVERS: [&str; 11] = [
        "vite",
        "vite dev",
        "vite preview",
        "react-scripts start",
        "astro dev",
        "astro preview",
        "ng serve",
        "parcel",
        "webpack serve",
        "webpack-dev-server",
        "craco start",
    ];
    let words: Vec<&str> = script.split_whitespace().filter(|word| !word.starts_with('-')).collect();
    let line = words.join(" ");
    let known = SERVERS.iter().any(|server| line == *server || line.starts_with(&format!("{server} ")));
    known && !line.starts_with("vite build")
}

pub(super) fn detect(source: &SourceView, package: &Package, settings: &BuildSettings) -> Option<Page> {
    let page = |framework: &str, directory: &str, from: &str, fallback: bool, certain: bool| {
        let directory = match &settings.output {
            Some(output) => Sourced::new(output.clone(), "panda.toml"),
            None => Sourced::new(directory.to_owned(), from),
        };
        Some(Page { framework: framework.to_owned(), files: StaticPlan { directory, fallback }, certain })
    };
    if package.depends_on("react-scripts") {
        return page("Create React App", "build", "react-scripts", true, true);
    }
    if package.depends_on("astro") {
        let config = config(source, "astro.config");
        let server = config.contains("output: 'server'") || config.contains("output: \"server\"");
        let directory = setting(&config, "outDir");
        let from = if directory.is_some() { "astro.config" } else { "Astro's default" };
        return page("Astro", &directory.unwrap_or_else(|| "dist".to_owned()), from, false, !server);
    }
    if package.depends_on("vite") && source.has_file("index.html") {
        let directory = setting(&config(source, "vite.config"), "outDir");
        let from = if directory.is_some() { "vite.config" } else { "Vite's default" };
        return page("Vite", &directory.unwrap_or_else(|| "dist".to_owned()), from, true, true);
    }
    settings.output.as_ref().and_then(|_| page("its own build", "", "", false, true))
}

fn config(source: &SourceView, stem: &str) -> String {
    let endings = ["js", "ts", "mjs", "mts", "cjs"];
    endings.iter().find_map(|ending| source.read(&format!("{stem}.{ending}"))).unwrap_or_default()
}

/// Reads `name: 'value'` out of a config file; anything computed is left to build.output.
fn setting(config: &str, name: &str) -> Option<String> {
    let rest = config.split(&format!("{name}:")).nth(1)?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let value = rest[1..].split(quote).next()?;
    let value = value.trim_start_matches("./").trim_end_matches('/');
    crate::detect::settings::plain_path(value).ok().map(|()| value.to_owned())
}
