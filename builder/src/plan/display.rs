//! The plan as `panda build --plan` prints it.

use std::fmt;

use crate::dockerfile::nginx_command;

use super::{BuildPlan, NodePlan, PlanKind, PythonPlan, Sourced, StaticPlan};

impl fmt::Display for BuildPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.root != "." {
            row(f, "root", &self.root, "")?;
        }
        match &self.kind {
            PlanKind::Node(node) => node_rows(f, node)?,
            PlanKind::Python(python) => python_rows(f, python)?,
            PlanKind::Static(files) => {
                row(f, "language", "static files", "")?;
                served(f, files)?;
            }
            PlanKind::Dockerfile(own) => {
                row(f, "language", "your Dockerfile", &own.path)?;
                if let Some(target) = &own.target {
                    row(f, "stage", target, "")?;
                }
            }
        }
        if !self.packages.is_empty() {
            row(f, "packages", &self.packages.join(" "), "")?;
        }
        for (name, argv) in &self.processes {
            row(f, name.as_str(), &line(&argv.value), &argv.from)?;
        }
        if let Some(argv) = &self.release {
            row(f, "release", &line(&argv.value), &argv.from)?;
        }
        row(f, "port", &self.port.value.to_string(), &self.port.from)?;
        if !self.secrets.is_empty() {
            row(f, "secrets", &self.secrets.join(" "), "as variables of the build steps, in no layer")?;
        }
        row(f, "images", &self.base_images.join(", "), "")?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

fn node_rows(f: &mut fmt::Formatter<'_>, node: &NodePlan) -> fmt::Result {
    let what = node.framework.as_ref().map_or_else(String::new, |framework| format!(" with {framework}"));
    row(f, "language", &format!("Node.js {}{what}", node.version.value), &node.version.from)?;
    row(f, "packages by", &node.package_manager.value.to_string(), &node.package_manager.from)?;
    command(f, "install", node.install.as_ref())?;
    command(f, "build", node.build.as_ref())?;
    node.serve.as_ref().map_or(Ok(()), |files| served(f, files))
}

fn python_rows(f: &mut fmt::Formatter<'_>, python: &PythonPlan) -> fmt::Result {
    let what = python.framework.as_ref().map_or_else(String::new, |framework| format!(" with {framework}"));
    row(f, "language", &format!("Python {}{what}", python.version.value), &python.version.from)?;
    row(f, "packages by", &python.package_manager.value.to_string(), &python.package_manager.from)?;
    command(f, "install", python.install.as_ref())?;
    if !python.added.is_empty() {
        row(f, "added", &python.added.join(" "), "the start command needs it")?;
    }
    command(f, "build", python.build.as_ref())
}

fn served(f: &mut fmt::Formatter<'_>, files: &StaticPlan) -> fmt::Result {
    row(f, "serves", &files.directory.value, &files.directory.from)?;
    let unknown = if files.fallback { "index.html (single-page app)" } else { "404.html" };
    row(f, "unknown paths", unknown, "")
}

fn command(f: &mut fmt::Formatter<'_>, name: &str, command: Option<&Sourced<String>>) -> fmt::Result {
    command.map_or(Ok(()), |command| row(f, name, &command.value, &command.from))
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: &str, from: &str) -> fmt::Result {
    let name = format!("{name}:");
    if from.is_empty() {
        writeln!(f, "{name:<15}{value}")
    } else {
        writeln!(f, "{name:<15}{value}  ({from})")
    }
}

fn line(argv: &[String]) -> String {
    match argv {
        argv if *argv == nginx_command() => "nginx".to_owned(),
        [shell, flag, text] if shell == "/bin/sh" && flag == "-c" => text.clone(),
        words => shell_words::join(words),
    }
}
