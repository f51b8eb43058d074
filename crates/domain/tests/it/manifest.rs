//! `panda.toml`: what is taken, what is refused and with which words.

use std::time::{Duration, Instant};

use panda_domain::autoscale::Autoscale;
use panda_domain::formation::{Formation, Scale};
use panda_domain::manifest::{
    self, Builder, DetectedProcesses, Manifest, ManifestErrors, Mistake, MistakeKind, Overrides, parse,
};
use panda_domain::names::{EnvironmentName, ProcessName};
use panda_domain::port::TcpPort;
use panda_domain::release::FileContent;
use proptest::prelude::*;

fn errors(text: &str) -> Vec<Mistake> {
    let ManifestErrors(errors) = parse(text).expect_err(text);
    errors
}

/// Parses a text with exactly one mistake.
fn only(text: &str) -> Mistake {
    let errors = errors(text);
    assert_eq!(errors.len(), 1, "{text}: {errors:#?}");
    errors.into_iter().next().expect("counted one line above")
}

fn web() -> ProcessName {
    ProcessName::web()
}

#[test]
fn an_empty_file_and_the_example_say_nothing_but_are_fine() {
    assert_eq!(parse("").unwrap(), Manifest::default());
    let example = parse(manifest::example()).unwrap();
    assert_eq!(example.app.unwrap().as_str(), "my-app");
}

#[test]
fn every_line_of_the_example_is_known_once_its_comment_sign_is_gone() {
    let mut text = String::new();
    for line in manifest::example().lines() {
        let is_setting = line.starts_with("# ") && (line.contains(" = ") || line.starts_with("# ["));
        let prose = line.starts_with("# What") || line.starts_with("# `panda");
        text.push_str(if is_setting && !prose { &line[2..] } else { line });
        text.push('\n');
    }
    let manifest = parse(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(manifest.build.builder, Some(Builder::Auto));
    assert_eq!(manifest.processes[&web()].health.path.as_deref(), Some("/healthz"));
    assert_eq!(manifest.environments.len(), 1);
}

#[test]
fn a_full_file_reads_into_types() {
    let manifest = parse(
        r#"
        schema = 1
        app = "shop"
        [build]
        root = "./apps/api/"
        args = { NODE_ENV = "production" }
        secrets = ["NPM_TOKEN"]
        [deploy]
        strategy = "rolling"
        release = "npm run migrate"
        health_timeout = "2m"
        [processes.web]
        command = "gunicorn -b 0.0.0.0:$PORT app"
        port = 3000
        replicas = 3
        cpu = "250m"
        memory = "1Gi"
        shutdown = { signal = "INT", drain = "1s", grace = "1m" }
        health = { path = "/up", ok = "200-299", liveness = true }
        [processes.worker]
        command = ["node", "worker.js"]
        cpu = 2
        [env]
        LOG = "debug"
        [files]
        "/app/a.json" = "{}"
        "/app/key.pem" = { secret = "KEY" }
        [[domains]]
        host = "a.example.com"
        [http]
        body_limit = "1Mi"
        "#,
    )
    .unwrap();
    assert_eq!(manifest.build.root.as_deref(), Some("apps/api"));
    assert_eq!(manifest.deploy.release.as_deref(), Some(&["npm", "run", "migrate"].map(String::from)[..]));
    let web = &manifest.processes[&web()];
    assert_eq!(web.command.as_ref().unwrap()[..2], ["/bin/sh", "-c"]);
    assert_eq!((web.port, web.cpu_millis, web.memory_bytes), (Some(3000), Some(250), Some(1 << 30)));
    assert_eq!(web.shutdown.signal.as_deref(), Some("SIGINT"));
    assert_eq!(web.health.ok, Some((200, 299)));
    assert_eq!(manifest.files["/app/key.pem"], FileContent::Secret("KEY".to_owned()));
    assert_eq!(manifest.domains[0].path, "/");
}

#[test]
fn absurd_numbers_are_refused_with_the_field_and_the_range() {
    let process = |line: &str| only(&format!("[processes.web]\n{line}"));
    for (line, field, range) in [
        ("replicas = -1", "replicas", "0 to 1000"),
        ("replicas = 1000000000", "replicas", "0 to 1000"),
        ("replicas = 1e9", "replicas", "0 to 1000"),
        ("replicas = 99999999999999999999999", "replicas", "0 to 1000"),
        ("replicas = \"3\"", "replicas", "without quotes"),
        ("replicas = nan", "replicas", "whole number"),
        ("port = 0", "port", "1 to 65535"),
        ("port = 70000", "port", "1 to 65535"),
        ("port = 80.5", "port", "1 to 65535"),
        ("cpu = 1e99", "cpu", "0.01 to 256"),
        ("cpu = nan", "cpu", "0.01 to 256"),
        ("cpu = -inf", "cpu", "0.01 to 256"),
        ("cpu = 0", "cpu", "0.01 to 256"),
        ("cpu = \"1e9\"", "cpu", "0.01 to 256"),
        ("memory = 512", "memory", "16Mi"),
        ("memory = \"1Ki\"", "memory", "16Mi"),
        ("memory = \"99999Ti\"", "memory", "1Ti"),
        ("health.failures = 0", "health.failures", "1 to 100"),
        ("health.startup = \"9999h\"", "health.startup", "1h"),
        ("health.interval = 5", "health.interval", "\"30s\""),
        ("health.ok = \"0-999\"", "health.ok", "200-399"),
        ("shutdown.grace = \"0s\"", "shutdown.grace", "10m"),
    ] {
        let mistake = process(line);
        assert_eq!(mistake.field, format!("processes.web.{field}"), "{line}");
        assert_eq!((mistake.kind, mistake.line), (MistakeKind::Invalid, 2), "{line}");
        assert!(mistake.fix.contains(range), "{line}: {mistake}");
    }
}

#[test]
fn unknown_keys_get_a_suggestion() {
    for (text, field, suggestion) in [
        ("aap = \"x\"", "aap", "`app`"),
        ("replicas = 3", "replicas", "`processes.web.replicas`"),
        ("[processes.web]\nreplcas = 3", "processes.web.replcas", "`replicas`"),
        ("[procesess.web]\nport = 1", "procesess", "`processes`"),
        ("[deploy]\nstrategy = \"roling\"", "deploy.strategy", "\"rolling\""),
        ("[build]\nbuilder = \"docker\"", "build.builder", "auto, dockerfile"),
        ("[processes.web]\nserviceAccountName = \"x\"", "processes.web.serviceAccountName", "known here"),
        ("[processes.web.health]\npaht = \"/\"", "processes.web.health.paht", "`path`"),
        ("[[domains]]\nhots = \"a.b\"\nhost = \"a.b\"", "domains.0.hots", "`host`"),
    ] {
        let mistake = only(text);
        assert_eq!(mistake.field, field);
        assert!(mistake.fix.contains(suggestion), "{text}: {mistake}");
    }
}

#[test]
fn what_comes_later_is_told_apart_from_what_is_wrong() {
    for text in [
        "[databases.main]\nengine = \"postgres\"",
        "[cron.nightly]\nschedule = \"* * * * *\"",
        "[[volumes]]\nname = \"data\"",
        "[preview]\nenabled = true",
        "[build]\npackages = [\"curl\"]",
        "[build]\nbuilder = \"buildpacks\"",
        "[deploy]\nstrategy = \"canary\"",
        "[env]\nDATABASE_URL = { from = \"db.main.url\" }",
        "[env]\nKEY = { generate = \"base64:32\" }",
        "[env]\nKEY = { prompt = true }",
        "[[domains]]\nhost = \"a.b\"\ntls = \"auto\"",
    ] {
        let found = parse(text).expect_err(text);
        assert!(found.only_unsupported(), "{text}: {found}");
        assert!(!found.0[0].fix.is_empty(), "{text}");
    }
    let both = parse("nope = 1\n[cron.x]\nschedule = \"x\"").unwrap_err();
    assert!(!both.only_unsupported());
}

#[test]
fn every_mistake_is_named_at_once_in_the_order_of_the_text() {
    let found =
        errors("app = \"UP\"\n[processes.web]\nport = 0\nreplicas = \"x\"\n[env]\nPATH = \"x\"\nX = 3\n");
    let fields: Vec<_> = found.iter().map(|mistake| (mistake.field.as_str(), mistake.line)).collect();
    assert_eq!(
        fields,
        [("app", 1), ("processes.web.port", 3), ("processes.web.replicas", 4), ("env.PATH", 6), ("env.X", 7)]
    );
    assert!(found.iter().all(|mistake| !mistake.cause.is_empty() && !mistake.fix.is_empty()));
}

#[test]
fn paths_that_leave_their_place_are_refused() {
    for path in [
        "relative",
        "/",
        "",
        "/a/../b",
        "/a//b",
        "/a/",
        "/proc/x",
        "/sys",
        "/dev/null",
        "/var/run/docker.sock",
        "/etc/resolv.conf",
        "/run/x",
        "/a\u{1}b",
        "/./a",
    ] {
        let text = format!("[files]\n{path:?} = \"x\"");
        let mistake = only(&text.replace("\\u{1}", "\\u0001"));
        assert!(mistake.field.starts_with("files."), "{path}: {mistake}");
    }
    let mistake = only("[files]\n\"/a\" = \"x\"\n\"/a/b\" = \"y\"");
    assert!(mistake.cause.contains("`/a`"), "{mistake}");
    for root in ["/etc", "../x", "a/../../b"] {
        assert_eq!(only(&format!("[build]\nroot = {root:?}")).field, "build.root");
    }
    for path in ["nope", "/a b", "/a;b", "/../x", "/\u{2028}"] {
        assert_eq!(
            only(&format!("[processes.web.health]\npath = {path:?}").replace("\\u{2028}", "\u{2028}")).field,
            "processes.web.health.path"
        );
    }
}

#[test]
fn names_are_checked_by_their_own_rules() {
    for (text, field) in [
        ("app = \"a;id\"", "app"),
        ("[processes.\"a b\"]\nport = 1", "processes.\"a b\""),
        ("[env]\nLD_PRELOAD = \"x\"", "env.LD_PRELOAD"),
        ("[env]\n\"A=B\" = \"x\"", "env.\"A=B\""),
        ("[env]\nPORT = \"1\"", "env.PORT"),
        ("[[domains]]\nhost = \"*.example.com\"", "domains.0.host"),
        ("[[domains]]\npath = \"/\"", "domains.0"),
        ("[build]\nsecrets = [\"1A\"]", "build.secrets.0"),
        ("[environments.\"a/b/c\"]\nenv.X = \"1\"", "environments.\"a/b/c\""),
        ("[processes.web]\ncommand = \"node 'x\"", "processes.web.command"),
        ("[processes.web]\ncommand = [\"\"]", "processes.web.command"),
        ("[processes.web.health]\nliveness = true", "processes.web.health.liveness"),
        ("processes = 3", "processes"),
        ("schema = 2", "schema"),
    ] {
        assert_eq!(only(text).field, field, "{text}");
    }
}

#[test]
fn duplicate_keys_and_broken_text_have_a_line() {
    let duplicate = only("app = \"a\"\napp = \"b\"");
    assert_eq!((duplicate.kind, duplicate.line), (MistakeKind::Syntax, 2));
    let broken = &errors("app = \"a\"\nport 3\n")[0];
    assert_eq!((broken.kind, broken.line), (MistakeKind::Syntax, 2));
    assert!(errors("app = !!python/object x").iter().all(|mistake| mistake.kind == MistakeKind::Syntax));
}

#[test]
fn hostile_sizes_and_depths_end_quickly_on_a_small_stack() {
    let texts = [
        "#".repeat(10 << 20),
        format!("a = {}{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("a = {}1{}", "{ a = ".repeat(10_000), " }".repeat(10_000)),
        format!("{} = 1", vec!["a"; 10_000].join(".")),
        format!("[{}]", vec!["a"; 10_000].join(".")),
        format!("a = {}1{}", format!("{{ {} = ", vec!["a"; 78].join(".")).repeat(78), " }".repeat(78)),
        "[".repeat(200_000),
        "a=1\n".repeat(60_000),
        (0..20_000).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join("\n"),
        (0..1000).map(|n| format!("[environments.e{n}]\nenv.A = \"{n}\"")).collect::<Vec<_>>().join("\n"),
    ];
    for text in texts {
        let start = Instant::now();
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        let shown: String = text.chars().take(30).collect();
        let result = thread.spawn(move || parse(&text).map(|_| ())).unwrap().join().unwrap();
        assert!(result.is_err(), "{shown}");
        assert!(start.elapsed() < Duration::from_secs(2), "{shown}: {:?}", start.elapsed());
    }
}

#[test]
fn an_environment_lays_its_keys_over_the_rest() {
    let manifest = parse(
        r#"
        app = "shop"
        [processes.web]
        replicas = 3
        port = 3000
        [env]
        A = "1"
        B = "2"
        [environments.staging]
        processes.web.replicas = 1
        env.B = "two"
        "#,
    )
    .unwrap();
    let staging: EnvironmentName = "staging".parse().unwrap();
    let staging = manifest.for_environment(&staging);
    assert_eq!(staging.processes[&web()].replicas, Some(1));
    assert_eq!(staging.processes[&web()].port, Some(3000));
    assert_eq!(staging.env[&"A".parse().unwrap()], "1");
    assert_eq!(staging.env[&"B".parse().unwrap()], "two");
    assert_eq!(manifest.for_environment(&EnvironmentName::production()).processes[&web()].replicas, Some(3));
}

#[test]
fn mistakes_of_an_environment_are_named_there_and_only_there() {
    let text =
        "[processes.web]\nport = 0\n[environments.staging]\nprocesses.web.replicas = -1\napp = \"x\"\n";
    let fields: Vec<_> = errors(text).into_iter().map(|mistake| mistake.field).collect();
    assert_eq!(
        fields,
        ["processes.web.port", "environments.staging.processes.web.replicas", "environments.staging.app"]
    );
}

#[test]
fn file_detection_and_flags_join_to_a_release_by_strength() {
    let worker: ProcessName = "worker".parse().unwrap();
    let manifest =
        parse("[processes.web]\nreplicas = 2\nport = 3000\nhealth.path = \"/up\"\nmemory = \"1Gi\"").unwrap();
    let argv = |text: &str| Some(vec![text.to_owned()]);
    let detected = DetectedProcesses {
        processes: [(web(), (argv("serve"), Some(80))), (worker.clone(), (argv("work"), None))].into(),
        release_command: argv("migrate"),
    };
    let config = manifest.to_release_config(&detected, &Overrides { replicas: Some(5), port: None });
    assert_eq!(config.web_port(), Some(3000));
    assert_eq!(config.processes[&web()].command, argv("serve"));
    assert_eq!(config.processes[&worker].port, None);
    assert_eq!(config.release_command, argv("migrate"));
    assert_eq!((config.rollout_timeout_s, config.release_timeout_s), (300, 600));
    let current: Formation = [(worker.clone(), Scale { replicas: 7, ..Scale::default() })].into();
    let formation = manifest.to_formation(&current, &config, &Overrides { replicas: Some(5), port: None });
    assert_eq!((formation[&web()].replicas, formation[&worker].replicas), (5, 7));
    assert_eq!(formation[&web()].size.memory_bytes, 1 << 30);

    let bare = Manifest::default().to_release_config(&DetectedProcesses::default(), &Overrides::default());
    assert_eq!(bare.web_port(), Some(8080));
    assert_eq!(bare.processes[&web()].command, None);
}

#[test]
fn bounds_of_load_are_read_laid_over_and_kept_until_another_wish() {
    let text = "[processes.web.autoscale]\nmin = 2\nmax = 10\nmemory = 80\n[environments.staging]\nprocesses.web.autoscale.max = 3";
    let manifest = parse(text).unwrap();
    let wished = Autoscale { min: 2, max: 10, cpu_percent: None, memory_percent: Some(80) };
    assert_eq!(manifest.processes[&web()].autoscale, Some(wished));
    let staging = manifest.for_environment(&"staging".parse().unwrap());
    assert_eq!(staging.processes[&web()].autoscale, Some(Autoscale { max: 3, ..wished }));

    let config = manifest.to_release_config(&DetectedProcesses::default(), &Overrides::default());
    let formation = manifest.to_formation(&Formation::new(), &config, &Overrides::default());
    assert_eq!(formation[&web()].autoscale, Some(wished));
    let later = Manifest::default().to_formation(&formation, &config, &Overrides::default());
    assert_eq!(later, formation, "a file that says nothing of it takes nothing away");
}

#[test]
fn bounds_of_load_that_cant_be_are_named_where_they_stand() {
    for (text, field, cause) in [
        ("min = 2", "processes.web.autoscale", "`max`"),
        ("max = 2", "processes.web.autoscale", "`min`"),
        ("min = 3\nmax = 2", "processes.web.autoscale.max", "at least `min`"),
        ("min = 0\nmax = 2", "processes.web.autoscale.min", "out of range"),
        ("min = 1\nmax = 2\ncpu = 100", "processes.web.autoscale.cpu", "out of range"),
        ("min = 1\nmax = 2\ncpu = \"70%\"", "processes.web.autoscale.cpu", "no whole number"),
        ("min = 1\nmax = 2\nmemroy = 80", "processes.web.autoscale.memroy", "no known key"),
    ] {
        let mistake = only(&format!("[processes.web.autoscale]\n{text}"));
        assert_eq!(mistake.field, field);
        assert!(mistake.cause.contains(cause) && mistake.line >= 1, "{text}: {mistake}");
    }
}

#[test]
fn a_manifest_survives_its_way_through_a_job_row() {
    let manifest = parse("[processes.web]\nport = 3000\n[environments.staging]\nenv.A = \"1\"").unwrap();
    let json = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,400}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_toml_like_text_makes_the_parser_panic(
        lines in proptest::collection::vec(
            ("(\\[|\\[\\[)?(app|build|processes\\.web|env|files|domains|ports|environments\\.x|health|http)(\\]|\\]\\])?",
             "( = )?", "(-?[0-9e.]{1,30}|\"[ -~]{0,20}\"|nan|inf|true|\\{[ -~]{0,30}\\}|\\[[ -~]{0,30}\\]|2020-01-01)?"),
            0..20,
        )
    ) {
        let lines: Vec<_> = lines.iter().map(|(key, equals, value)| format!("{key}{equals}{value}")).collect();
        let text = lines.join("
");
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.0.is_empty());
            prop_assert!(errors.0.iter().all(|mistake| mistake.line >= 1 && mistake.column >= 1));
        }
    }

    #[test]
    fn quantities_never_panic(text in "[0-9a-zA-Z.\\-µ ]{0,40}") {
        let _ = manifest::parse_duration(&text);
        let _ = manifest::parse_bytes(&text);
        let _ = manifest::parse_cpu(&text);
        let _ = manifest::argv_of(&text);
    }
}

#[test]
fn ports_read_into_types_and_only_tcp_is_published() {
    let manifest = parse(
        "[[ports]]\nport = 9000\n\n[[ports]]\nprocess = \"worker\"\nport = 9001\nprotocol = \"tcp\"\npublished = 20000",
    )
    .unwrap();
    let port =
        |process: &str, port, published| TcpPort { process: process.parse().unwrap(), port, published };
    assert_eq!(manifest.ports, [port("web", 9000, None), port("worker", 9001, Some(20_000))]);
    let config = manifest.to_release_config(&DetectedProcesses::default(), &Overrides::default());
    assert_eq!(config.ports, manifest.ports);
    for (text, field, fix) in [
        ("[[ports]]\nport = 53\nprotocol = \"udp\"", "ports.0.protocol", "protocol = \"tcp\""),
        ("[[ports]]\nport = 80\nprotocol = \"http\"", "ports.0.protocol", "URL"),
        ("[[ports]]\nprotocol = \"tcp\"", "ports.0", "port = 9000"),
        ("[[ports]]\nport = 0", "ports.0.port", "1 to 65535"),
        ("[[ports]]\nport = 9000\npublished = 22", "ports.0.published", "1024 to 65535"),
        ("[[ports]]\nport = 9000\npublish = 20000", "ports.0.publish", "`published`"),
        ("[[ports]]\nport = 9000\nprocess = \"No\"", "ports.0.process", ""),
        ("[[ports]]\nport = 1\n[[ports]]\nport = 1", "ports.1", "one of the two"),
        (
            "[[ports]]\nport = 1\npublished = 2000\n[[ports]]\nport = 2\npublished = 2000",
            "ports.1",
            "its own",
        ),
        ("ports = 9000", "ports", "[[ports]]"),
    ] {
        let found = only(text);
        assert_eq!(found.field, field, "{text}");
        assert!(found.fix.contains(fix), "{text}: {found}");
    }
}
