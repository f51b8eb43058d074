//! Plans and generated Dockerfiles, without a daemon.

use std::path::Path;

use panda_builder::plan::{BuildPlan, PlanFailure, plan};
use panda_builder::settings::BuildSettings;
use panda_builder::source::SourceView;
use panda_domain::failure::FailureCode;
use panda_domain::manifest::Builder;

use crate::ground::app;

fn of(directory: &Path, settings: &BuildSettings) -> Result<BuildPlan, PlanFailure> {
    plan(&SourceView::open(directory).unwrap(), settings)
}

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

fn planned(files: &[(&str, &str)]) -> BuildPlan {
    of(tree(files).path(), &BuildSettings::default()).unwrap()
}

fn refused(files: &[(&str, &str)]) -> (FailureCode, String) {
    let failure = of(tree(files).path(), &BuildSettings::default()).unwrap_err();
    assert!(!failure.0.fix.is_empty());
    (failure.0.code, failure.0.cause)
}

#[test]
fn every_sample_app_has_the_plan_and_dockerfile_that_people_read() {
    for name in [
        "hello-node",
        "npm-express",
        "pnpm-app",
        "yarn-app",
        "vite-spa",
        "pip-flask",
        "uv-fastapi",
        "poetry-app",
        "static-site",
        "dockerfile-app",
    ] {
        let plan = of(&app(name), &BuildSettings::default()).unwrap();
        insta::assert_snapshot!(name, format!("{plan}---\n{}", plan.recipe().dockerfile));
    }
}

#[test]
fn equal_sources_give_equal_texts_and_an_ejected_one_is_planned_as_a_dockerfile() {
    let first = of(&app("npm-express"), &BuildSettings::default()).unwrap();
    let again = of(&app("npm-express"), &BuildSettings::default()).unwrap();
    assert_eq!(first.recipe(), again.recipe());
    let ejected = first.eject();
    assert!(ejected.dockerignore.contains("**/node_modules"));
    let files = [("Dockerfile", ejected.dockerfile.as_str()), ("package.json", "{}")];
    let plan = planned(&files);
    assert_eq!(plan.recipe().dockerfile, ejected.dockerfile);
    assert_eq!(plan.port.value, 8080);
}

#[test]
fn a_plan_survives_being_stored() {
    let plan = of(&app("vite-spa"), &BuildSettings::default()).unwrap();
    let stored: BuildPlan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(stored, plan);
}

#[test]
fn a_procfile_names_processes_and_the_release_command() {
    let plan = planned(&[
        ("package.json", r#"{"scripts":{"start":"node a.js"}}"#),
        (
            "Procfile",
            "# comment\nweb: node web.js --port $PORT\nworker: node worker.js\nrelease: node migrate.js\n",
        ),
    ]);
    let detected = plan.detected_processes();
    let names: Vec<String> = detected.processes.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["web", "worker"]);
    assert_eq!(detected.release_command.unwrap(), ["node", "migrate.js"]);
    let web = &detected.processes[&"web".parse().unwrap()];
    assert_eq!(web.0.as_ref().unwrap(), &["/bin/sh", "-c", "exec node web.js --port $PORT"]);
    assert_eq!(web.1, Some(8080));
    assert_eq!(detected.processes[&"worker".parse().unwrap()].1, None);
}

#[test]
fn what_cannot_be_decided_names_the_candidates() {
    let (code, cause) = refused(&[("package.json", r#"{"main":"x.js"}"#), ("x.js", ""), ("main.py", "")]);
    assert_eq!(code, FailureCode::P102);
    assert!(cause.contains("main.py") && cause.contains("package.json"), "{cause}");
    let (code, cause) = refused(&[("app.py", "app = Flask(__name__)"), ("main.py", "app = FastAPI()")]);
    assert!(code == FailureCode::P102 && cause.contains("`main.py`, `app.py`"), "{cause}");
    let (code, cause) = refused(&[
        ("package.json", r#"{"dependencies":{"a":"1"}}"#),
        ("yarn.lock", ""),
        ("package-lock.json", "{}"),
    ]);
    assert!(code == FailureCode::P102 && cause.contains("yarn.lock"), "{cause}");
    let (code, _) = refused(&[("package.json", "{}"), ("server.js", ""), ("index.js", "")]);
    assert_eq!(code, FailureCode::P102);
}

#[test]
fn what_is_missing_is_named_with_the_fix() {
    assert_eq!(refused(&[("package.json", "{}")]).0, FailureCode::P101);
    assert_eq!(refused(&[("README.md", "")]).0, FailureCode::P101);
    assert!(refused(&[("go.mod", "")]).1.contains("Go"));
    assert!(refused(&[("package.json", "{")]).1.contains("package.json can't be read"));
    assert_eq!(
        refused(&[("package.json", r#"{"engines":{"node":"12"}}"#), ("server.js", "")]).0,
        FailureCode::P105
    );
    assert_eq!(refused(&[("main.py", ""), ("runtime.txt", "python-2.7.18")]).0, FailureCode::P105);
    assert_eq!(
        refused(&[("main.py", ""), ("pyproject.toml", "[tool.poetry]\nname = \"x\"")]).0,
        FailureCode::P103
    );
    assert!(refused(&[("Procfile", "web node"), ("package.json", "{}")]).1.contains("line 1"));
}

#[test]
fn settings_win_over_files_and_are_checked() {
    let source = tree(&[("package.json", r#"{"scripts":{"build":"x","start":"y"}}"#), ("main.py", "")]);
    let settings = BuildSettings {
        builder: Builder::Node,
        command: Some("make \"all\" <<EOF\\".to_owned()),
        secrets: vec!["NPM_TOKEN".to_owned()],
        packages: vec!["git".to_owned()],
        ..BuildSettings::default()
    };
    let text = of(source.path(), &settings).unwrap().recipe().dockerfile;
    assert!(text.contains("--mount=type=secret,id=NPM_TOKEN,env=NPM_TOKEN,required=true"), "{text}");
    assert!(text.contains(r#"["/bin/sh", "-c", "make \"all\" \u003c\u003cEOF\\"]"#), "{text}");
    assert!(text.contains("apt-get install --yes --no-install-recommends git"), "{text}");
    for bad in [
        BuildSettings { command: Some("a\nUSER root".to_owned()), ..settings.clone() },
        BuildSettings { root: "../x".to_owned(), ..settings.clone() },
        BuildSettings { output: Some("a$b".to_owned()), ..settings.clone() },
        BuildSettings { secrets: vec!["A,target=/etc".to_owned()], ..settings.clone() },
        BuildSettings { packages: vec!["--allow-unauthenticated".to_owned()], ..settings.clone() },
        BuildSettings { args: [("BUILDKIT_SYNTAX".to_owned(), "x".to_owned())].into(), ..settings.clone() },
    ] {
        assert!(of(source.path(), &bad).is_err(), "{bad:?}");
    }
}

#[test]
fn django_and_factories_of_flask_are_started_by_gunicorn() {
    let plan = planned(&[
        ("manage.py", ""),
        ("requirements.txt", "Django>=5\n"),
        ("site1/settings.py", "WSGI_APPLICATION = 'site1.wsgi.application'\nSTATIC_ROOT = 'static'\n"),
        ("site1/wsgi.py", ""),
    ]);
    assert_eq!(plan.processes[&"web".parse().unwrap()].value, ["gunicorn", "site1.wsgi:application"]);
    assert!(plan.recipe().dockerfile.contains("collectstatic"));
    assert!(plan.warnings.iter().any(|warning| warning.contains("gunicorn")), "{:?}", plan.warnings);
    let plan = planned(&[
        ("requirements.txt", "flask\ngunicorn\n"),
        ("src/app.py", "def create_app():\n    app = Flask(__name__)\n    return app\n"),
    ]);
    assert_eq!(plan.processes[&"web".parse().unwrap()].value, ["gunicorn", "src.app:create_app()"]);
}

#[test]
fn a_monorepo_root_is_planned_by_itself_and_never_left() {
    let source = tree(&[("api/main.py", "print()"), ("web/package.json", "{}")]);
    let settings = BuildSettings { root: "api".to_owned(), ..BuildSettings::default() };
    let plan = of(source.path(), &settings).unwrap();
    assert_eq!(plan.processes[&"web".parse().unwrap()].value, ["python", "main.py"]);
    let settings = BuildSettings { root: "nope".to_owned(), ..BuildSettings::default() };
    assert_eq!(of(source.path(), &settings).unwrap_err().0.code, FailureCode::P112);
}
