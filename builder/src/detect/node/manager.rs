//! Which package manager, and what it is told to do.

use panda_domain::failure::FailureCode;

use super::Package;
use crate::detect::versions;
use crate::plan::{PackageManager, PlanFailure, Sourced};
use crate::source::SourceView;

const NPM_LOCKS: [&str; 2] = ["package-lock.json", "npm-shrinkwrap.json"];

pub(super) fn detect(
    source: &SourceView,
    package: &Package,
    warnings: &mut Vec<String>,
) -> Result<Sourced<PackageManager>, PlanFailure> {
    if let Some(named) = &package.manager {
        return named_manager(source, named, warnings);
    }
    let locks =
        ["package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb"];
    let mut present: Vec<&str> = locks.into_iter().filter(|lock| source.has_file(lock)).collect();
    // npm itself prefers the shrinkwrap.
    if present.contains(&"npm-shrinkwrap.json") {
        present.retain(|lock| *lock != "package-lock.json");
    }
    match present.as_slice() {
        [] => {
            if package.has_dependencies() {
                warnings.push("there is no lock file: every build may get other versions".to_owned());
            }
            Ok(Sourced::new(PackageManager::Npm, "default"))
        }
        ["pnpm-lock.yaml"] => {
            Ok(Sourced::new(PackageManager::Pnpm { version: pnpm_version(source) }, "pnpm-lock.yaml"))
        }
        ["yarn.lock"] => Ok(Sourced::new(yarn(source), "yarn.lock")),
        ["bun.lock" | "bun.lockb"] => Err(bun()),
        [npm] => Ok(Sourced::new(PackageManager::Npm, *npm)),
        several => {
            let files = several.iter().map(|lock| format!("`{lock}`")).collect::<Vec<_>>().join(" and ");
            let cause = format!("lock files of several package managers are there: {files}");
            let fix = "remove all but one, or name yours in packageManager of package.json";
            Err(PlanFailure::new(FailureCode::P102, cause, fix))
        }
    }
}

/// Reads `pnpm@9.1.0+sha512.…`.
fn named_manager(
    source: &SourceView,
    named: &str,
    warnings: &mut Vec<String>,
) -> Result<Sourced<PackageManager>, PlanFailure> {
    let (name, version) = named.split_once('@').unwrap_or((named, ""));
    let version = version.split('+').next().unwrap_or_default().to_owned();
    let plain = version.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    let manager = match name {
        _ if !plain => None,
        "npm" => Some((PackageManager::Npm, &NPM_LOCKS[..])),
        "pnpm" => {
            Some((PackageManager::Pnpm { version: or(version, versions::PNPM) }, &["pnpm-lock.yaml"][..]))
        }
        "yarn" if version.starts_with("1.") => {
            Some((PackageManager::YarnClassic { version }, &["yarn.lock"][..]))
        }
        "yarn" if version.is_empty() => Some((yarn(source), &["yarn.lock"][..])),
        "yarn" => Some((PackageManager::YarnBerry { version }, &["yarn.lock"][..])),
        "bun" => return Err(bun()),
        _ => None,
    };
    let Some((manager, locks)) = manager else {
        let shown: String = named.chars().take(60).flat_map(char::escape_debug).collect();
        let cause = format!("packageManager `{shown}` in package.json isn't known");
        return Err(PlanFailure::new(
            FailureCode::P105,
            cause,
            "use npm, pnpm or yarn with a version, as in pnpm@10.1.0",
        ));
    };
    if !locks.iter().any(|lock| source.has_file(lock)) {
        warnings.push(format!("there is no {}: every build may get other versions", locks[0]));
    }
    Ok(Sourced::new(manager, "packageManager in package.json"))
}

fn or(version: String, default: &str) -> String {
    if version.is_empty() { default.to_owned() } else { version }
}

fn bun() -> PlanFailure {
    PlanFailure::new(
        FailureCode::P105,
        "the source uses Bun, which needs a Dockerfile so far",
        "add a Dockerfile, or commit a lock file of npm, pnpm or yarn instead",
    )
}

/// The lock file's format belongs to a major version.
fn pnpm_version(source: &SourceView) -> String {
    let text = source.read("pnpm-lock.yaml").unwrap_or_default();
    let format = text.lines().find_map(|line| line.strip_prefix("lockfileVersion:"));
    let format = format.unwrap_or_default().trim().trim_matches(['\'', '"']);
    match format.split('.').next() {
        Some("5") => "7",
        Some("6") => "8",
        _ => versions::PNPM,
    }
    .to_owned()
}

fn yarn(source: &SourceView) -> PackageManager {
    let lock = source.read("yarn.lock").unwrap_or_default();
    let berry = source.has_file(".yarnrc.yml") || lock.contains("__metadata:");
    if berry {
        PackageManager::YarnBerry { version: versions::YARN_BERRY.to_owned() }
    } else {
        PackageManager::YarnClassic { version: versions::YARN_CLASSIC.to_owned() }
    }
}

/// Returns the files that installing reads, when it runs no scripts of the source.
pub(super) fn files(source: &SourceView, manager: &PackageManager) -> Vec<String> {
    let own: &[&str] = match manager {
        PackageManager::Npm => &["package-lock.json", "npm-shrinkwrap.json"],
        PackageManager::Pnpm { .. } => &["pnpm-lock.yaml", "pnpm-workspace.yaml", ".pnpmfile.cjs"],
        PackageManager::YarnClassic { .. } => &["yarn.lock", ".yarnrc"],
        PackageManager::YarnBerry { .. } => &["yarn.lock", ".yarnrc.yml"],
    };
    let all = ["package.json", ".npmrc"].iter().chain(own).filter(|file| source.has_file(file));
    // Patches and plugins are directories: then installing needs everything.
    if source.has_directory("patches")
        || source.has_directory(".yarn")
        || source.has_file("pnpm-workspace.yaml")
    {
        return Vec::new();
    }
    all.map(|file| (*file).to_owned()).collect()
}

pub(super) fn install(source: &SourceView, manager: &PackageManager) -> Sourced<String> {
    let locked =
        |locks: &[&str]| locks.iter().find(|lock| source.has_file(lock)).map(|lock| (*lock).to_owned());
    let (lock, frozen, loose) = match manager {
        PackageManager::Npm => (locked(&NPM_LOCKS), "npm ci", "npm install --no-package-lock"),
        PackageManager::Pnpm { .. } => (
            locked(&["pnpm-lock.yaml"]),
            "pnpm install --frozen-lockfile",
            "pnpm install --no-frozen-lockfile",
        ),
        PackageManager::YarnClassic { .. } => {
            (locked(&["yarn.lock"]), "yarn install --frozen-lockfile", "yarn install --no-lockfile")
        }
        PackageManager::YarnBerry { .. } => {
            (locked(&["yarn.lock"]), "yarn install --immutable", "yarn install --no-immutable")
        }
    };
    match lock {
        Some(lock) => Sourced::new(frozen.to_owned(), lock),
        None => Sourced::new(loose.to_owned(), "no lock file"),
    }
}

/// Returns the command that runs a script of package.json.
pub(super) fn run(manager: &PackageManager, script: &str) -> String {
    match manager {
        PackageManager::Npm => format!("npm run {script}"),
        PackageManager::Pnpm { .. } => format!("pnpm run {script}"),
        PackageManager::YarnClassic { .. } | PackageManager::YarnBerry { .. } => format!("yarn run {script}"),
    }
}

/// Returns the command that removes development dependencies; `None` where the manager has none.
pub(super) fn prune(manager: &PackageManager) -> Option<String> {
    match manager {
        PackageManager::Npm => Some("npm prune --omit=dev --ignore-scripts".to_owned()),
        PackageManager::Pnpm { .. } => Some("pnpm prune --prod --ignore-scripts".to_owned()),
        PackageManager::YarnClassic { .. } => {
            Some("yarn install --production --frozen-lockfile --ignore-scripts --prefer-offline".to_owned())
        }
        PackageManager::YarnBerry { version } if version.starts_with('4') => {
            Some("yarn workspaces focus --all --production".to_owned())
        }
        PackageManager::YarnBerry { .. } => None,
    }
}
