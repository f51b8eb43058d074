//! How a Python app is started: Django, FastAPI, Flask, or a program by its usual name.

use panda_domain::failure::FailureCode;

use super::{Project, START_HINT};
use crate::plan::{PlanFailure, Sourced};
use crate::source::SourceView;

/// Files that are programs by their name.
pub(super) const PROGRAMS: [&str; 8] =
    ["main.py", "app.py", "server.py", "wsgi.py", "asgi.py", "application.py", "start.py", "bot.py"];

/// What was found out about starting.
#[derive(Default)]
pub(super) struct Start {
    pub(super) framework: Option<String>,
    pub(super) argv: Option<Sourced<Vec<String>>>,
    /// Servers that the command needs and the requirements lack.
    pub(super) added: Vec<String>,
    pub(super) collects_static: bool,
}

pub(super) fn detect(source: &SourceView, project: &Project) -> Result<Start, PlanFailure> {
    if source.has_file("manage.py") {
        return django(source, project);
    }
    let mut frameworks: Vec<Server> = Vec::new();
    let mut programs = Vec::new();
    let below = [".", "src", "app"].into_iter();
    for file in below.flat_map(|directory| PROGRAMS.map(|name| join(directory, name))) {
        let Some(text) = source.read(&file) else { continue };
        match Server::read(&file, &text) {
            Some(server) => frameworks.push(server),
            None if !file.contains('/') => programs.push(file),
            None => {}
        }
    }
    match (frameworks.as_slice(), programs.as_slice()) {
        ([server], _) => Ok(server.start(project)),
        ([], [program]) => {
            let argv = vec!["python".to_owned(), program.clone()];
            Ok(Start { argv: Some(Sourced::new(argv, program.clone())), ..Start::default() })
        }
        ([], []) => Ok(Start::default()),
        (servers, programs) => {
            let files = servers
                .iter()
                .map(|server| &server.file)
                .chain(programs.iter().filter(|_| servers.is_empty()));
            let files = files.map(|file| format!("`{file}`")).collect::<Vec<_>>().join(", ");
            Err(PlanFailure::new(
                FailureCode::P102,
                format!("any of {files} could be the server"),
                START_HINT,
            ))
        }
    }
}

fn join(directory: &str, name: &str) -> String {
    if directory == "." { name.to_owned() } else { format!("{directory}/{name}") }
}

/// A file that makes a Flask or FastAPI app.
struct Server {
    file: String,
    asgi: bool,
    framework: &'static str,
    /// The variable or call that gives the app.
    object: String,
}

impl Server {
    fn read(file: &str, text: &str) -> Option<Self> {
        const MAKERS: [(&str, &str, bool); 4] = [
            ("FastAPI(", "FastAPI", true),
            ("Starlette(", "Starlette", true),
            ("Quart(", "Quart", true),
            ("Flask(", "Flask", false),
        ];
        let (maker, framework, asgi) = MAKERS.into_iter().find(|(maker, ..)| text.contains(maker))?;
        let variable = text.lines().find_map(|line| {
            // At the left margin only: a variable inside a function is nobody's to import.
            let (name, value) = line.split_once('=')?;
            let name = name.split(':').next()?.trim_end();
            let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let value = value.trim_start().rsplit_once(maker).map(|(before, _)| before)?;
            (plain && (value.is_empty() || value.ends_with('.'))).then(|| name.to_owned())
        });
        let factory =
            || text.lines().any(|line| line.starts_with("def create_app(")).then(|| "create_app".to_owned());
        let object = match variable {
            Some(name) => name,
            None if asgi => return None,
            None => format!("{}()", factory()?),
        };
        Some(Self { file: file.to_owned(), asgi, framework, object })
    }

    fn start(&self, project: &Project) -> Start {
        let module = self.file.trim_end_matches(".py").replace('/', ".");
        let target = format!("{module}:{}", self.object);
        let (server, argv) = if self.asgi {
            let line = format!("exec uvicorn {target} --host 0.0.0.0 --port ${{PORT:-8080}}");
            ("uvicorn", vec!["/bin/sh".to_owned(), "-c".to_owned(), line])
        } else {
            // gunicorn listens on 0.0.0.0:$PORT by itself.
            ("gunicorn", vec!["gunicorn".to_owned(), target])
        };
        // `fastapi[standard]` brings uvicorn along.
        let present = project.requires(server) || (self.asgi && brings_uvicorn(project));
        Start {
            framework: Some(self.framework.to_owned()),
            argv: Some(Sourced::new(argv, self.file.clone())),
            added: if present { Vec::new() } else { vec![server.to_owned()] },
            collects_static: false,
        }
    }
}

fn brings_uvicorn(project: &Project) -> bool {
    let text = format!("{}\n{}", project.requirements, project.pyproject);
    text.to_ascii_lowercase().replace(' ', "").contains("fastapi[")
}

fn django(source: &SourceView, project: &Project) -> Result<Start, PlanFailure> {
    let names = source.list(".");
    let packages: Vec<&String> =
        names.iter().filter(|name| source.has_file(&format!("{name}/wsgi.py"))).collect();
    let named = names.iter().find_map(|name| {
        let text = source.read(&format!("{name}/settings.py"))?;
        let line = text.lines().find(|line| line.starts_with("WSGI_APPLICATION"))?.to_owned();
        let value = line.split(['\'', '"']).nth(1)?.to_owned();
        let (module, object) = value.rsplit_once('.')?;
        let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        plain.then(|| format!("{module}:{object}"))
    });
    let target = match (named, packages.as_slice()) {
        (Some(named), _) => named,
        (None, [package]) => format!("{package}.wsgi:application"),
        (None, []) => {
            let cause = "manage.py is there, and no directory with a wsgi.py";
            return Err(PlanFailure::new(FailureCode::P101, cause, START_HINT));
        }
        (None, several) => {
            let all = several.iter().map(|name| format!("`{name}/wsgi.py`")).collect::<Vec<_>>().join(", ");
            return Err(PlanFailure::new(
                FailureCode::P102,
                format!("any of {all} could be the server"),
                START_HINT,
            ));
        }
    };
    let settings = names.iter().filter_map(|name| source.read(&format!("{name}/settings.py")));
    let mut settings = settings.into_iter();
    let collects_static = settings.any(|text| text.lines().any(|line| line.starts_with("STATIC_ROOT")));
    let added = if project.requires("gunicorn") { Vec::new() } else { vec!["gunicorn".to_owned()] };
    let argv = Sourced::new(vec!["gunicorn".to_owned(), target], "manage.py");
    Ok(Start { framework: Some("Django".to_owned()), argv: Some(argv), added, collects_static })
}
