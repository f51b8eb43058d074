//! Node.js: dependencies in layers of their own, so that a changed line moves only the source.

use super::text::{Text, cache, secrets};
use super::{OWNED, USER, static_site};
use crate::detect::versions::{NGINX_IMAGE, node_image};
use crate::plan::{BuildPlan, NodePlan, PackageManager};

pub(super) fn write(plan: &BuildPlan, node: &NodePlan) -> String {
    let mut text = Text::new("a Node.js app");
    let image = node_image(&node.version.value);
    let builds = node.build.is_some();
    if node.install.is_some() || builds {
        text.line(format!("FROM {image} AS build"));
        text.line("WORKDIR /app").packages(&plan.packages).args(plan);
        text.line("ENV CI=true COREPACK_ENABLE_DOWNLOAD_PROMPT=0 NPM_CONFIG_UPDATE_NOTIFIER=false");
        manager(&mut text, &node.package_manager.value);
        install(&mut text, plan, node);
        text.blank();
    }
    match &node.serve {
        Some(files) => {
            text.line(format!("FROM {NGINX_IMAGE}"));
            let directory = files.directory.value.trim_start_matches("./").trim_end_matches('/');
            let (flags, from) = if builds {
                ("--from=build", format!("/app/{directory}"))
            } else {
                ("", directory.to_owned())
            };
            static_site::serve(&mut text, plan, files, flags, &[&from]);
        }
        None => server(&mut text, plan, node, &image),
    }
    text.finish()
}

fn install(text: &mut Text, plan: &BuildPlan, node: &NodePlan) {
    let with_development = node.build.is_some();
    if let Some(install) = &node.install {
        if node.manifests.is_empty() {
            text.copy("", &["."], "./");
        } else {
            let files: Vec<&str> = node.manifests.iter().map(String::as_str).collect();
            text.copy("", &files, "./");
        }
        let own = install.from == "panda.toml";
        let command = if with_development || own {
            install.value.clone()
        } else {
            format!("{}{}", install.value, without_development(&node.package_manager.value))
        };
        let mounts = [vec![manager_cache(&node.package_manager.value)], secrets(plan)].concat();
        text.run(&mounts, &command);
    }
    if let Some(build) = &node.build {
        if node.install.is_none() || !node.manifests.is_empty() {
            text.copy("", &["."], "./");
        }
        let mut mounts = secrets(plan);
        if node.framework.as_deref() == Some("Next.js") {
            mounts.insert(0, cache("next", "/app/.next/cache"));
        }
        text.run(&mounts, &build.value);
        if let Some(prune) = &node.prune {
            let mounts = [vec![manager_cache(&node.package_manager.value)], secrets(plan)].concat();
            text.run(&mounts, prune);
        }
    }
}

fn server(text: &mut Text, plan: &BuildPlan, node: &NodePlan, image: &str) {
    text.line(format!("FROM {image}"));
    text.packages(&plan.packages);
    text.line(format!(
        "ENV NODE_ENV=production HOST=0.0.0.0 PORT={} PATH=/app/node_modules/.bin:$PATH",
        plan.port.value
    ));
    let whole_tree = node.install.is_some() && node.manifests.is_empty();
    if node.build.is_some() || whole_tree {
        if node.install.is_some() {
            // By content: unchanged dependencies are neither copied nor pushed again.
            text.line(format!("COPY --from=build {OWNED} /app/node_modules* /app/node_modules/"));
        }
        text.line(format!("COPY --from=build {OWNED} --exclude=node_modules /app /app"));
    } else {
        if node.install.is_some() {
            text.line(format!("COPY --from=build {OWNED} /app/node_modules* /app/node_modules/"));
        }
        text.copy(OWNED, &["."], "/app");
    }
    text.line("WORKDIR /app");
    text.line(format!("USER {USER}"));
    text.line(format!("EXPOSE {}", plan.port.value));
    let mut processes = plan.processes.iter();
    let web = processes.clone().find(|(name, _)| name.is_web()).or_else(|| processes.next());
    if let Some((_, argv)) = web {
        text.cmd(&argv.value);
    }
}

/// Installs the package manager itself, where Node doesn't bring it.
fn manager(text: &mut Text, manager: &PackageManager) {
    let package = match manager {
        PackageManager::Npm => return,
        PackageManager::Pnpm { version } => format!("pnpm@{version}"),
        PackageManager::YarnClassic { version } => format!("yarn@{version}"),
        PackageManager::YarnBerry { version } => format!("@yarnpkg/cli-dist@{version}"),
    };
    if matches!(manager, PackageManager::YarnBerry { .. }) {
        text.line("ENV YARN_NODE_LINKER=node-modules YARN_ENABLE_GLOBAL_CACHE=true YARN_ENABLE_TELEMETRY=0");
    }
    text.line(format!(
        "RUN --mount={} npm install --global --force --no-fund --no-audit {package}",
        cache("npm", "/root/.npm")
    ));
}

fn manager_cache(manager: &PackageManager) -> String {
    match manager {
        PackageManager::Npm => cache("npm", "/root/.npm"),
        PackageManager::Pnpm { .. } => cache("pnpm", "/root/.local/share/pnpm/store"),
        PackageManager::YarnClassic { .. } => cache("yarn", "/usr/local/share/.cache/yarn"),
        PackageManager::YarnBerry { .. } => cache("yarn-berry", "/root/.yarn/berry/cache"),
    }
}

/// Returns the flag that leaves development dependencies out from the start.
fn without_development(manager: &PackageManager) -> &'static str {
    match manager {
        PackageManager::Npm => " --omit=dev",
        PackageManager::Pnpm { .. } => " --prod",
        PackageManager::YarnClassic { .. } => " --production",
        PackageManager::YarnBerry { .. } => "",
    }
}
