//! Builds on a real buildkitd, pushes to a real registry.

use std::time::{Duration, Instant};

use panda_builder::buildkit::RegistryCredentials;
use panda_builder::failure::BuildError;
use panda_builder::log::{BuildEvent, StepEnd};
use panda_builder::registry::RegistryLogin;
use panda_domain::failure::FailureCode;
use panda_domain::secret::Secret;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ground::{Ground, app, dockerfile, failed, printed, variable};

const SECRET: &str = "correct-horse-battery";

#[tokio::test]
async fn a_dockerfile_with_args_and_a_secret_becomes_an_image_by_digest_and_is_cached_the_second_time() {
    let Some(ground) = Ground::find() else { return };
    let (repository, base) = ground.own_base().await;
    let text = dockerfile("dockerfile-app").replace("node:22-slim", &base);
    let mut request = ground.request(&app("dockerfile-app"), &text);
    request.repository.clone_from(&repository);
    request.args.insert("GREETING".to_owned(), "good day".to_owned());
    request.secrets.insert("TOKEN".to_owned(), Secret::new(SECRET));
    let app_id = request.app_id.clone();
    let (result, events) = ground.build(request).await;
    let outcome = result.unwrap();
    assert!(!outcome.cached);
    assert_eq!(outcome.repository, repository);
    let config = ground.image_config(&outcome).await;
    assert_eq!(config["config"]["User"], "10001:10001");
    assert!(printed(&events).iter().any(|line| line == "token has 21 bytes"), "{:?}", printed(&events));
    assert!(!config.to_string().contains(SECRET));

    let mut again = ground.request(&app("dockerfile-app"), &text);
    (again.app_id, again.repository) = (app_id, repository);
    again.args.insert("GREETING".to_owned(), "good day".to_owned());
    again.secrets.insert("TOKEN".to_owned(), Secret::new(SECRET));
    let (second, events) = ground.build(again).await;
    let second = second.unwrap();
    assert!(second.cached, "{:?}", second.steps);
    assert_eq!(second.digest, outcome.digest);
    assert!(
        events.iter().any(|event| matches!(event, BuildEvent::StepFinished { end: StepEnd::Cached, .. }))
    );
}

#[tokio::test]
async fn the_contexts_dockerignore_keeps_files_out_of_the_image() {
    let Some(ground) = Ground::find() else { return };
    let text = "FROM node:22-slim\nCOPY . /app\nRUN ls -a /app\n";
    let mut request = ground.request(&app("dockerfile-app"), text);
    request.use_cache = false;
    let (result, events) = ground.build(request).await;
    result.unwrap();
    let lines = printed(&events);
    assert!(lines.iter().any(|line| line == "server.js"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("ignored.txt") || line == "Dockerfile"), "{lines:?}");
}

#[tokio::test]
async fn only_changed_files_travel_the_second_time() {
    let Some(ground) = Ground::find() else { return };
    let source = tempfile::tempdir().unwrap();
    for n in 0..200 {
        std::fs::write(source.path().join(format!("file{n}")), vec![b'x'; 10_000]).unwrap();
    }
    let text = "FROM node:22-slim\nCOPY . /app\n";
    let first = ground.request(source.path(), text);
    let app_id = first.app_id.clone();
    std::fs::write(source.path().join("file7"), &app_id).unwrap();
    let outcome = ground.build(first).await.0.unwrap();
    assert!(outcome.sent_bytes >= 1_990_000, "{outcome:?}");
    std::fs::write(source.path().join("file7"), format!("v2 of {app_id}")).unwrap();
    let mut second = ground.request(source.path(), text);
    second.app_id = app_id;
    let outcome = ground.build(second).await.0.unwrap();
    assert!(!outcome.cached && outcome.sent_bytes < 1_000, "{outcome:?}");
}

#[tokio::test]
async fn canceling_kills_the_steps_processes_within_two_seconds() {
    let Some(ground) = Ground::find() else { return };
    let text = dockerfile("build-hangs").replace("4711", "4712");
    let request = ground.request(&app("build-hangs"), &text);
    let (sink, mut events) = mpsc::channel(64);
    let cancel = CancellationToken::new();
    let stop = async {
        while let Some(event) = events.recv().await {
            if matches!(&event, BuildEvent::Line { text, .. } if text == "hanging") {
                break;
            }
        }
        let printed = Instant::now();
        while !sleeping("4712") {
            assert!(printed.elapsed() < Duration::from_secs(10), "the step's process has to be there first");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let at = Instant::now();
        cancel.cancel();
        while events.recv().await.is_some() {}
        at
    };
    let (result, at) = tokio::join!(ground.builder.build(request, sink, cancel.clone()), stop);
    assert!(matches!(result, Err(BuildError::Canceled)));
    while sleeping("4712") {
        assert!(at.elapsed() < Duration::from_secs(2), "the step still runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(at.elapsed() < Duration::from_secs(2));
    println!("canceled, processes gone after {:?}", at.elapsed());
}

/// Tells whether `sleep <seconds>` runs anywhere on this machine.
fn sleeping(seconds: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut commands = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    commands.any(|command| command == format!("sleep\0{seconds}\0").into_bytes())
}

#[tokio::test]
async fn a_build_that_never_ends_meets_its_deadline_and_names_the_step() {
    let Some(ground) = Ground::find() else { return };
    // The deadline is for the step: pulling the base image may take longer than that on a cold and busy machine.
    let (repository, base) = ground.own_base().await;
    let text = dockerfile("build-hangs").replace("node:22-slim", &base);
    let mut request = ground.request(&app("build-hangs"), &text);
    request.repository = repository;
    request.deadline = Duration::from_secs(10);
    let failure = failed(ground.build(request).await.0);
    assert_eq!(failure.failure.code, FailureCode::P107);
    assert!(failure.failure.cause.contains("sleep 4711"), "{}", failure.failure.cause);
}

#[tokio::test]
async fn a_step_that_fails_is_named_with_its_exit_code_and_last_line() {
    let Some(ground) = Ground::find() else { return };
    let failure =
        failed(ground.build(ground.request(&app("build-fails"), &dockerfile("build-fails"))).await.0);
    assert_eq!(failure.failure.code, FailureCode::P109);
    assert!(failure.failure.cause.contains("exit code 2: src/index.ts(3,7): error TS2322"), "{failure}");
    assert_eq!(failure.failure.log, ["about to fail", "src/index.ts(3,7): error TS2322"]);
    assert!(!failure.transient);
}

#[tokio::test]
async fn a_secret_that_a_step_prints_is_masked_plain_and_in_base64() {
    let Some(ground) = Ground::find() else { return };
    let text = "FROM node:22-slim\nRUN --mount=type=secret,id=T,required=true cat /run/secrets/T; echo; base64 /run/secrets/T; \
                cat /run/secrets/T >&2; echo; exit 3\n";
    let mut request = ground.request(&app("hello-node"), text);
    request.secrets.insert("T".to_owned(), Secret::new(SECRET));
    let (result, events) = ground.build(request).await;
    let failure = failed(result);
    let all = format!("{events:?} {failure:?}");
    assert!(!all.contains(SECRET) && !all.contains("Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"), "{all}");
    assert!(printed(&events).iter().filter(|line| line.contains("[secret]")).count() >= 3);
}

#[tokio::test]
async fn what_a_dockerfile_may_not_ask_for_is_denied() {
    let Some(ground) = Ground::find() else { return };
    for text in [
        "FROM node:22-slim\nRUN --security=insecure id\n",
        "FROM node:22-slim\nRUN --network=host id\n",
        "# syntax=evil/frontend\nFROM node:22-slim\n",
    ] {
        let failure = failed(ground.build(ground.request(&app("hello-node"), text)).await.0);
        assert_eq!(failure.failure.code, FailureCode::P109);
        assert!(
            failure.failure.cause.contains("rights") || failure.failure.cause.contains("frontend"),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn cache_mounts_of_one_app_are_not_anothers() {
    let Some(ground) = Ground::find() else { return };
    let write = "FROM node:22-slim\nRUN --mount=type=cache,id=shared,target=/c : NONCE; echo poison > /c/x\n";
    let read = "FROM node:22-slim\nRUN --mount=type=cache,id=shared,target=/c : NONCE; ls /c; echo end\n";
    let request = |text: &str, app_id: Option<&String>| {
        let mut request = ground.request(&app("hello-node"), "");
        // Not by switching the cache off: that takes cache mounts along.
        request.recipe.dockerfile = text.replace("NONCE", &request.build_id);
        request.app_id = app_id.unwrap_or(&request.app_id).clone();
        request
    };
    let first = request(write, None);
    let owner = first.app_id.clone();
    ground.build(first).await.0.unwrap();
    let (result, events) = ground.build(request(read, None)).await;
    result.unwrap();
    assert_eq!(printed(&events), ["end"]);
    let (result, events) = ground.build(request(read, Some(&owner))).await;
    result.unwrap();
    assert_eq!(printed(&events), ["x", "end"]);
}

#[tokio::test]
async fn output_without_end_is_bounded_and_says_so() {
    let Some(ground) = Ground::find() else { return };
    let text = "FROM node:22-slim\nRUN for i in $(seq 2000); do echo \"$i aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"; done\n";
    let mut request = ground.request(&app("hello-node"), text);
    request.use_cache = false;
    request.log_limits.total_bytes = 10_000;
    let (result, events) = ground.build(request).await;
    result.unwrap();
    let kept: usize = printed(&events).iter().map(String::len).sum();
    assert!(kept <= 10_000, "{kept}");
    assert!(
        matches!(events.last(), Some(BuildEvent::Notice { text }) if text.contains("left out")),
        "{:?}",
        events.last()
    );
}

#[tokio::test]
async fn an_unreachable_registry_fails_before_the_build_and_may_be_retried() {
    let Some(ground) = Ground::find() else { return };
    let mut request = ground.request(&app("build-hangs"), &dockerfile("build-hangs"));
    request.registry.host = "127.0.0.1:9".to_owned();
    request.registry.check_url = Some("http://127.0.0.1:9".to_owned());
    let started = Instant::now();
    let failure = failed(ground.build(request).await.0);
    assert_eq!((failure.failure.code, failure.transient), (FailureCode::P111, true));
    assert!(failure.failure.cause.contains("127.0.0.1:9"), "{failure}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_missing_base_image_and_a_missing_file_are_told_apart() {
    let Some(ground) = Ground::find() else { return };
    let image = failed(ground.build(ground.request(&app("hello-node"), "FROM node:99-none\n")).await.0);
    assert_eq!(image.failure.code, FailureCode::P105, "{image}");
    let text = "FROM node:22-slim\nCOPY nope.txt /\n";
    let file = failed(ground.build(ground.request(&app("hello-node"), text)).await.0);
    assert_eq!(file.failure.code, FailureCode::P109);
    assert!(file.failure.cause.contains("nope.txt"), "{file}");
}

#[tokio::test]
async fn a_registry_that_wants_a_login_gets_it_from_memory_and_the_password_stays_out_of_the_log() {
    let Some(mut ground) = Ground::find() else { return };
    let Some(registry) = variable("PANDA_TEST_LOGIN_REGISTRY") else { return };
    ground.push = registry.clone();
    let build = |password: &str| {
        let mut request = ground.request(&app("hello-node"), "FROM node:22-slim\nCOPY . /app\n");
        request.registry.check_url = Some(format!("http://{registry}"));
        let password = Secret::new(password);
        let login = RegistryCredentials { user: "panda".to_owned(), password };
        request.registry.login = RegistryLogin::Password(login);
        ground.build(request)
    };
    build("panda-test").await.0.unwrap();
    let (result, events) = build("wrong-password").await;
    let failure = failed(result);
    assert_eq!(failure.failure.code, FailureCode::P104, "{failure}");
    assert!(!format!("{events:?} {failure:?}").contains("wrong-password"));
}
