//! Node.js: npm, pnpm and yarn; servers, and pages that Vite, Create React App or Astro build.

mod manager;
mod spa;

use std::collections::BTreeMap;

use panda_domain::failure::FailureCode;
use panda_domain::manifest::argv_of;
use serde::Deserialize;

use super::{Found, static_site, versions};
use crate::plan::{NodePlan, PackageManager, PlanFailure, PlanKind, Sourced};
use crate::settings::BuildSettings;
use crate::source::SourceView;

const START_HINT: &str = "add scripts.start to package.json, or a Procfile with `web: command`";

/// What of a package.json matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Package {
    scripts: BTreeMap<String, String>,
    main: Option<String>,
    engines: BTreeMap<String, String>,
    #[serde(rename = "packageManager")]
    manager: Option<String>,
    dependencies: BTreeMap<String, serde_json::Value>,
    dev_dependencies: BTreeMap<String, serde_json::Value>,
    optional_dependencies: BTreeMap<String, serde_json::Value>,
    workspaces: Option<serde_json::Value>,
}

impl Package {
    fn depends_on(&self, name: &str) -> bool {
        self.dependencies.contains_key(name) || self.dev_dependencies.contains_key(name)
    }

    fn script(&self, name: &str) -> Option<&str> {
        self.scripts.get(name).map(String::as_str).filter(|text| !text.trim().is_empty())
    }

    /// Tells whether installing runs the source's own scripts, which need the whole source.
    fn installs_with_scripts(&self) -> bool {
        ["preinstall", "install", "postinstall", "prepare"].iter().any(|name| self.script(name).is_some())
    }

    fn has_dependencies(&self) -> bool {
        !(self.dependencies.is_empty()
            && self.dev_dependencies.is_empty()
            && self.optional_dependencies.is_empty())
            || self.workspaces.is_some()
    }
}

/// Returns the file that makes this a Node source.
pub(super) fn is_one(source: &SourceView) -> Option<String> {
    source.has_file("package.json").then(|| "package.json".to_owned())
}

/// Tells whether package.json names a server to start.
pub(super) fn has_server(source: &SourceView) -> bool {
    read_package(source).is_ok_and(|package| {
        package.script("start").is_some_and(|start| !spa::is_development_server(start))
            || package.main.is_some()
    })
}

pub(super) fn detect(source: &SourceView, settings: &BuildSettings) -> Result<Found, PlanFailure> {
    let package = read_package(source)?;
    let mut warnings = Vec::new();
    let version = version(source, &package, &mut warnings)?;
    let package_manager = manager::detect(source, &package, &mut warnings)?;
    let install = install(source, &package, &package_manager.value, settings);
    let manifests =
        if package.installs_with_scripts() || package.workspaces.is_some() || settings.install.is_some() {
            Vec::new()
        } else {
            manager::files(source, &package_manager.value)
        };
    let build = match (&settings.command, package.script("build")) {
        (Some(command), _) => Some(Sourced::new(command.clone(), "panda.toml")),
        (None, Some(_)) => Some(Sourced::new(manager::run(&package_manager.value, "build"), "scripts.build")),
        (None, None) => None,
    };
    let page = spa::detect(source, &package, settings);
    let start = start(source, &package, settings)?;
    let base = versions::node_image(&version.value);
    let framework = page.as_ref().map(|page| page.framework.clone()).or_else(|| framework(&package));
    let served = page.filter(|page| settings.output.is_some() || (start.is_none() && page.certain));
    let needs_prune = served.is_none() && install.is_some() && !package.dev_dependencies.is_empty();
    let node = NodePlan {
        version,
        framework,
        manifests,
        install,
        prune: needs_prune.then(|| manager::prune(&package_manager.value)).flatten(),
        build,
        package_manager,
        serve: served.map(|page| page.files),
    };
    if node.serve.is_some() {
        if node.build.is_none() {
            warnings.push("there is no build script: the directory has to be in the source".to_owned());
        }
        let images = vec![base, versions::NGINX_IMAGE.to_owned()];
        return Ok(static_site::found(PlanKind::Node(node), images, warnings));
    }
    Ok(Found {
        kind: PlanKind::Node(node),
        start,
        base_images: vec![base],
        warnings,
        start_hint: START_HINT,
        port: None,
    })
}

fn read_package(source: &SourceView) -> Result<Package, PlanFailure> {
    let Some(text) = source.read("package.json") else {
        let cause = "the source has no package.json";
        return Err(PlanFailure::new(
            FailureCode::P101,
            cause,
            "set build.root in panda.toml to the directory that has it",
        ));
    };
    serde_json::from_str(&text).map_err(|error| {
        let cause = format!("package.json can't be read: {error}");
        PlanFailure::new(
            FailureCode::P112,
            cause,
            "correct it; `npm pkg get name` shows whether npm can read it",
        )
    })
}

fn version(
    source: &SourceView,
    package: &Package,
    warnings: &mut Vec<String>,
) -> Result<Sourced<String>, PlanFailure> {
    let engines = package.engines.get("node").map(|range| (range.clone(), "engines in package.json"));
    let file = |name: &'static str| source.read(name).map(|text| (first_line(&text), name));
    let said = engines.or_else(|| file(".nvmrc")).or_else(|| file(".node-version"));
    let Some((range, from)) = said.filter(|(range, _)| !range.is_empty()) else {
        return Ok(Sourced::new(versions::NODE_DEFAULT.to_string(), "default"));
    };
    let Some(major) = versions::node_for(&range) else {
        let known = versions::NODE.map(|major| major.to_string()).join(", ");
        let cause = format!("Node.js `{range}` ({from}) isn't to be had; there are {known}");
        return Err(PlanFailure::new(FailureCode::P105, cause, "change it, or write a Dockerfile"));
    };
    let digits = range.trim_start_matches('v');
    if digits.split('.').filter(|part| part.parse::<u64>().is_ok()).count() == 3 {
        warnings.push(format!("{from} asks for Node.js {digits}; the newest {major} is used"));
    }
    Ok(Sourced::new(major.to_string(), format!("{range} in {}", from.replace("engines in ", "engines of "))))
}

pub(super) fn first_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default()
        .to_owned()
}

fn install(
    source: &SourceView,
    package: &Package,
    manager: &PackageManager,
    settings: &BuildSettings,
) -> Option<Sourced<String>> {
    match &settings.install {
        Some(command) => Some(Sourced::new(command.clone(), "panda.toml")),
        None if !package.has_dependencies() => None,
        None => Some(manager::install(source, manager)),
    }
}

/// Files that are servers by their name.
const SERVERS: [&str; 9] = [
    "server.js",
    "server.mjs",
    "server.cjs",
    "index.js",
    "index.mjs",
    "app.js",
    "app.mjs",
    "main.js",
    "src/index.js",
];

/// Finds the command that starts the server; `None` when nothing names one.
fn start(
    source: &SourceView,
    package: &Package,
    settings: &BuildSettings,
) -> Result<Option<Sourced<Vec<String>>>, PlanFailure> {
    if settings.commands.contains_key("web") {
        return Ok(None);
    }
    if let Some(script) = package.script("start").filter(|script| !spa::is_development_server(script)) {
        // The script itself, not `npm start`: the server gets the stop signal, and there is one process less.
        let wraps = package.script("prestart").is_some();
        let argv = if wraps { argv_of("npm start") } else { argv_of(script) };
        let argv = argv.ok().flatten().unwrap_or_else(|| vec!["npm".to_owned(), "start".to_owned()]);
        return Ok(Some(Sourced::new(argv, "scripts.start")));
    }
    let node = |file: &str, from: &str| {
        let argv = vec!["node".to_owned(), file.to_owned()];
        Some(Sourced::new(argv, from.to_owned()))
    };
    if let Some(main) = package.main.as_deref().filter(|main| source.has_file(main)) {
        return Ok(node(main, "main in package.json"));
    }
    let present: Vec<&str> = SERVERS.into_iter().filter(|file| source.has_file(file)).collect();
    match present.as_slice() {
        [] => Ok(None),
        [file] => Ok(node(file, file)),
        several => Err(PlanFailure::new(
            FailureCode::P102,
            format!(
                "any of {} could be the server",
                several.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(", ")
            ),
            START_HINT,
        )),
    }
}

fn framework(package: &Package) -> Option<String> {
    const KNOWN: [(&str, &str); 8] = [
        ("next", "Next.js"),
        ("nuxt", "Nuxt"),
        ("@nestjs/core", "NestJS"),
        ("@remix-run/node", "Remix"),
        ("@sveltejs/kit", "SvelteKit"),
        ("fastify", "Fastify"),
        ("express", "Express"),
        ("koa", "Koa"),
    ];
    KNOWN.iter().find(|(name, _)| package.depends_on(name)).map(|(_, shown)| (*shown).to_owned())
}
