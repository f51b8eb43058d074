//! The platform's own registry serves nobody without a token, and each token opens one repository.

use std::time::Duration;

use panda_builder::build::{BuildOutcome, BuildRequest};
use panda_builder::failure::BuildError;
use panda_domain::clock::Clock;
use panda_domain::failure::FailureCode;
use panda_domain::secret::Secret;
use panda_registry_token::{Action, LIFETIME, RegistryKey};
use reqwest::Method;

use crate::ground::{Ground, app, printed};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl Ground {
    /// Builds and pushes a small image of its own.
    async fn pushed(&self, line: &str) -> BuildOutcome {
        let request = self.request(&app("hello-node"), &format!("FROM node:22-slim\n{line}\n"));
        self.build(request).await.0.unwrap()
    }

    /// Returns the status that the registry answers.
    async fn ask(&self, method: Method, path: &str, token: Option<&Secret>) -> u16 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.request(method, format!("http://{}/v2/{path}", self.registry));
        let request = request.header("accept", MANIFEST);
        let request = match token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    }

    /// Returns the status of reading an image.
    async fn read(&self, image: &BuildOutcome, token: &Secret) -> u16 {
        self.ask(Method::GET, &manifest(image), Some(token)).await
    }
}

fn manifest(image: &BuildOutcome) -> String {
    format!("{}/manifests/{}", image.repository, image.digest)
}

fn pull(key: &RegistryKey, image: &BuildOutcome) -> Secret {
    key.pull_token(&image.repository, LIFETIME)
}

#[tokio::test]
async fn a_hostile_step_finds_the_registry_by_its_address_and_gets_nowhere() {
    let Some(ground) = Ground::find() else { return };
    let victim: BuildRequest = ground.request(&app("hello-node"), "FROM node:22-slim\nCOPY . /app\n");
    let image = format!("{}:{}", victim.repository, victim.build_id);
    let victim = ground.build(victim).await.0.unwrap();

    let context = tempfile::tempdir().unwrap();
    std::fs::write(context.path().join("attack.mjs"), include_str!("attack.mjs")).unwrap();
    let dockerfile = "FROM node:22-slim\nARG VICTIM\nCOPY attack.mjs /\nRUN node /attack.mjs \"$VICTIM\"\n";
    let mut attack = ground.request(context.path(), dockerfile);
    attack.args.insert("VICTIM".to_owned(), image);
    let (result, events) = ground.build(attack).await;
    result.unwrap();
    let lines = printed(&events);
    assert!(lines.iter().any(|line| line == "found the registry"), "{lines:?}");
    let tried: Vec<_> = lines.iter().filter(|line| line.starts_with("tried ")).collect();
    assert_eq!(tried.len(), 7, "{lines:?}");
    assert!(tried.iter().all(|line| line.ends_with(" 401")), "{tried:?}");
    assert_eq!(ground.read(&victim, &pull(&ground.key, &victim)).await, 200, "it is still there");
}

#[tokio::test]
async fn a_build_cannot_take_another_apps_image_as_its_base() {
    let Some(ground) = Ground::find() else { return };
    let victim = ground.request(&app("hello-node"), "FROM node:22-slim\nCOPY . /app\n");
    let (repository, tag) = (format!("{}/{}", ground.push, victim.repository), victim.build_id.clone());
    let digest = ground.build(victim).await.0.unwrap().digest;
    // The daemon still has what it built; a digest is all that it would need to find it.
    for image in [format!("{repository}:{tag}"), format!("{repository}@{digest}")] {
        for line in [format!("FROM {image}"), format!("FROM scratch\nCOPY --from={image} /app /app")] {
            let (result, _) = ground.build(ground.request(&app("hello-node"), &format!("{line}\n"))).await;
            let Err(BuildError::Failed(failure)) = result else { panic!("it was taken: {result:?}") };
            assert!(matches!(failure.failure.code, FailureCode::P104 | FailureCode::P105), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn a_token_opens_one_repository_for_what_it_says_and_for_its_time() {
    let Some(ground) = Ground::find() else { return };
    // The second one's layers lie in the first one's repository: the daemon has to do without mounting them from there.
    let (one, other) = (ground.pushed("RUN echo one > /n").await, ground.pushed("RUN echo other > /n").await);
    let key = &ground.key;
    assert_eq!(ground.read(&one, &pull(key, &one)).await, 200);
    assert_eq!(ground.read(&other, &pull(key, &other)).await, 200);
    assert_eq!(ground.read(&one, &pull(key, &other)).await, 401, "another app's token");
    assert_eq!(ground.read(&one, &key.greeting_token()).await, 401, "a token for nothing");
    assert_eq!(ground.ask(Method::GET, "", Some(&key.greeting_token())).await, 200);
    assert_eq!(ground.ask(Method::GET, &manifest(&one), None).await, 401, "no token");

    let delete = |token: Secret| {
        let ground = &ground;
        let path = manifest(&one);
        async move { ground.ask(Method::DELETE, &path, Some(&token)).await }
    };
    let upload = format!("{}/blobs/uploads/", one.repository);
    assert_eq!(ground.ask(Method::POST, &upload, Some(&pull(key, &one))).await, 401, "reading isn't writing");
    let push = key.token(&[(&one.repository, &[Action::Pull, Action::Push])], LIFETIME);
    assert_eq!(delete(push).await, 401, "writing isn't deleting");
    assert_eq!(delete(key.delete_token(&other.repository)).await, 401, "another app's");
    assert_eq!(delete(key.delete_token(&one.repository)).await, 202);
    assert_eq!(ground.read(&one, &pull(key, &one)).await, 404, "it is gone");
}

#[tokio::test]
async fn an_expired_token_and_one_of_another_key_are_refused() {
    let Some(ground) = Ground::find() else { return };
    let image = ground.pushed("RUN echo expired > /n").await;
    let at = |ago: Duration| Clock::manual(Clock::system().now() - ago);
    let read = async |key: RegistryKey| ground.read(&image, &pull(&key, &image)).await;
    assert_eq!(read(Ground::key_with(at(Duration::from_mins(1))).unwrap()).await, 200);
    // Five minutes, and the minute that the registry adds.
    assert_eq!(read(Ground::key_with(at(Duration::from_mins(7))).unwrap()).await, 401);
    let folder = tempfile::tempdir().unwrap();
    let stranger = RegistryKey::load_or_create(&folder.path().join("key"), Clock::system()).unwrap();
    assert_eq!(read(stranger).await, 401);
}
