//! Steps of earlier builds that are kept in the registry, for a daemon that lost its own or never had them.

use panda_builder::buildkit::BuildkitConfig;
use panda_builder::buildkit::solve::CacheImage;
use panda_test_support::spare_builder::SpareBuilder;

use crate::ground::{Ground, app, printed};

#[tokio::test]
async fn a_fresh_daemon_takes_the_steps_of_a_build_from_the_cache_in_the_registry() {
    let Some(ground) = Ground::find() else { return };
    let Some(spare) = SpareBuilder::prepare("cache").unwrap() else { return };
    // Two stages: of the first, only the cache knows the layers.
    let text = "FROM node:22-slim AS build\nWORKDIR /app\nCOPY . .\nRUN echo built; date +%N > made\n\
                FROM node:22-slim\nCOPY --from=build /app /app\n";
    let request = |ground: &Ground, cache: &CacheImage| {
        let mut request = ground.request(&app("hello-node"), text);
        request.cache = Some(cache.clone());
        request
    };
    let none = CacheImage { reference: String::new(), insecure: true };
    let mut first = request(&ground, &none);
    let cache = CacheImage { reference: format!("{}/{}:cache", ground.push, first.repository), ..none };
    first.cache = Some(cache.clone());
    let app_id = first.app_id.clone();
    let (result, events) = ground.build(first).await;
    let outcome = result.unwrap();
    assert_eq!(printed(&events), ["built"]);

    spare.start(&[]).unwrap();
    let fresh = Ground::at(&BuildkitConfig { address: spare.address(), tls: None }).unwrap();
    let mut second = request(&fresh, &cache);
    second.app_id.clone_from(&app_id);
    let (result, events) = fresh.build(second).await;
    let again = result.unwrap();
    assert!(again.cached, "{:?}", again.steps);
    assert!(printed(&events).is_empty(), "{:?}", printed(&events));
    assert_eq!(again.digest, outcome.digest);

    // Whoever asks for no cache gets none, wherever it lies.
    let mut anew = request(&fresh, &cache);
    (anew.app_id, anew.use_cache) = (app_id, false);
    let (result, events) = fresh.build(anew).await;
    assert!(!result.unwrap().cached);
    assert_eq!(printed(&events), ["built"]);
}

#[tokio::test]
async fn a_cache_that_is_not_there_yet_or_cannot_be_written_costs_no_build() {
    let Some(ground) = Ground::find() else { return };
    for reference in ["registry:5000/panda-it/none-yet:cache", "127.0.0.1:9/nobody:cache"] {
        let mut request = ground.request(&app("hello-node"), "FROM node:22-slim\nCOPY . /app\n");
        let reference = reference.replace("registry:5000", &ground.push);
        request.cache = Some(CacheImage { reference, insecure: true });
        ground.build(request).await.0.unwrap();
    }
}
