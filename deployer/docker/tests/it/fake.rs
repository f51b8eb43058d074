//! The contract against the runtime in memory, which the tests of everything above the seam rely on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use panda_deployer::runtime::PullImage;
use panda_deployer::runtime::fake::{Behaviour, FakeRuntime, PullFailure};
use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;
use panda_test_support::runtime_conformance::{App, Harness};

panda_test_support::runtime_contracts!(harness);

#[expect(clippy::unused_async, reason = "the suite awaits its harness")]
async fn harness() -> Option<Harness> {
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"));
    let fake = FakeRuntime::new(clock.clone(), IdSource::counted());
    let prints = || Behaviour { prints: vec!["version v1".into()], ..Behaviour::default() };
    let behaviours = [
        (App::Web, prints()),
        (App::Root, Behaviour { root: true, ..prints() }),
        (App::Exits, Behaviour::exits(1)),
        (App::NeverReady, Behaviour::never_ready()),
        (App::Localhost, Behaviour::listens_on(8080, true)),
        (App::OtherPort, Behaviour::listens_on(3999, false)),
        (App::EatsMemory, Behaviour::out_of_memory(Duration::from_secs(1))),
        (App::Shell, Behaviour::default()),
    ];
    let mut images = HashMap::new();
    for (n, (app, behaviour)) in behaviours.into_iter().enumerate() {
        let image = image(n);
        fake.behave(&image.digest, behaviour);
        images.insert(app, image);
    }
    let absent = image(99);
    fake.behave(&absent.digest, Behaviour::not_pulled(PullFailure::Absent));
    let again = fake.clone();
    Some(Harness {
        runtime: Arc::new(fake),
        reconnect: Box::new(move || {
            let again = again.clone();
            Box::pin(async move { Ok(Arc::new(again) as Arc<_>) })
        }),
        images,
        absent,
        ids: IdSource::random(Clock::system()),
        manual: Some(clock),
    })
}

fn image(n: usize) -> PullImage {
    let digest = format!("sha256:{n:064x}").parse().expect("a digest");
    PullImage { repository: "registry.test/app".to_owned(), digest, login: None }
}
