//! What nobody needs any more goes, for real, while an app keeps serving; what somebody may want back stays.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use panda_domain::clock::Clock;
use panda_domain::source_tree::ContentHash;
use panda_e2e::{App, Database, Installation, Options, Source, image, story_with};
use panda_registry_token::RegistryKey;

/// How long the reconciler may take to see and remove something: it looks every second here.
const PATIENCE: Duration = Duration::from_mins(2);

/// Keeps one release of each app and nothing that ended, and looks all the time.
fn hasty() -> Vec<(String, String)> {
    [
        ("KEEP_RELEASES", "1"),
        ("KEEP_DAYS", "0"),
        ("UPLOAD_GRACE_S", "15"),
        ("ORPHAN_GRACE_S", "2"),
        ("EVERY_S", "1"),
    ]
    .map(|(name, value)| (format!("PANDA_GARBAGE__{name}"), value.to_owned()))
    .into()
}

#[test]
fn what_nobody_needs_goes_while_an_app_serves_and_what_went_is_made_again() {
    story_with(
        |_| Ok(Options { database: Database::Postgres, settings: hasty(), ..Options::default() }),
        async |panda| {
            let source = Source::sample("hello-node")?;
            let app = App::create(panda, "hello").await?;
            app.deploy_source(&source).await?;
            source.change("server.js", "'v1'", "'v2'")?;
            app.deploy_source(&source).await?;
            let prober = app.probe()?;
            old_release_goes(panda, &app).await?;
            lost_app_goes(panda).await?;
            destroyed_app_takes_its_tasks(panda).await?;
            image_of_a_move_that_broke_off_goes(panda, &app).await?;
            prober.stop().assert_only("hello from v2 (v2)");

            // Its build, image and upload are gone: all of it is made again.
            source.change("server.js", "'v2'", "'v1'")?;
            app.deploy_source(&source).await?;
            assert_eq!(app.fetch("/").await?, (200, "hello from v1 (v3)\n".into()));
            let said = panda.server_log();
            assert!(said.contains("took away what nobody needs any more: "), "{said}");
            Ok(())
        },
    );
}

#[test]
fn a_known_build_whose_image_was_lost_is_built_anew() {
    story_with(
        |_| Ok(Options::default()),
        async |panda| {
            let source = Source::sample("hello-node")?;
            let app = App::create(panda, "hello").await?;
            let first = app.deploy_source(&source).await?;
            source.change("server.js", "'v1'", "'v2'")?;
            app.deploy_source(&source).await?;
            source.change("server.js", "'v2'", "'v1'")?;
            let known = app.deploy_source(&source).await?;
            assert_eq!(known.build, first.build, "the same source is built once");

            source.change("server.js", "'v1'", "'v2'")?;
            app.deploy_source(&source).await?;
            let image = app.releases().await?.pop().expect("it has releases").image;
            lose(panda, &image).await?;
            source.change("server.js", "'v2'", "'v1'")?;
            let anew = app.deploy_source(&source).await?;
            assert_ne!(anew.build, first.build);
            assert_eq!(
                in_registry(panda, &image).await?,
                200,
                "what is built of the same source is the same image"
            );
            Ok(())
        },
    );
}

/// Source, build log and image of the first release go from folder, registry and engine; those of the second stay.
async fn old_release_goes(panda: &Installation, app: &App<'_>) -> anyhow::Result<()> {
    let images: Vec<String> = app.releases().await?.into_iter().map(|release| release.image).collect();
    let [new, old] = &images[..] else { anyhow::bail!("two releases were made: {images:?}") };
    let data = panda.folder.join("data");
    until("one build log, one listing and two files are left", async || {
        let contents = files_below(&data.join("blobs"))?;
        let listings = files_below(&data.join("blobs/trees"))?;
        let logs = files_below(&data.join("logs/builds"))?;
        Ok((logs, listings, contents - listings) == (1, 1, 2))
    })
    .await?;
    until("the old image is gone from the registry", async || Ok(in_registry(panda, old).await? == 404))
        .await?;
    assert_eq!(in_registry(panda, new).await?, 200);
    let on_engine = |image: &str| {
        let name = format!("{}/{image}", panda.ground.pull);
        panda.docker.call(&["image", "inspect", "--format", "{{.Id}}", &name]).is_ok()
    };
    until("the old image is gone from the engine", async || Ok(!on_engine(old))).await?;
    assert!(on_engine(new));
    Ok(())
}

/// An app loses its rows while the server is away; what runs of it goes, its network last.
async fn lost_app_goes(panda: &Installation) -> anyhow::Result<()> {
    let (containers, networks) = panda.left_on_engine()?;
    let lost = App::create_apart(panda, "lost").await?;
    lost.deploy_live(&image(panda, "v1")).await?;
    let now = panda.left_on_engine()?;
    assert_eq!((now.0.len(), now.1.len()), (containers.len() + 1, networks.len() + 1));
    panda.kill9_server();
    panda.tamper("delete from apps where name = 'lost'")?;
    panda.start_server().await?;
    until("nothing of it is left on the engine", async || {
        let now = panda.left_on_engine()?;
        Ok((now.0.len(), now.1.len()) == (containers.len(), networks.len()))
    })
    .await
}

async fn destroyed_app_takes_its_tasks(panda: &Installation) -> anyhow::Result<()> {
    let (_, networks) = panda.left_on_engine()?;
    let app = App::create_apart(panda, "brief").await?;
    app.deploy_live(&image(panda, "v1")).await?;
    let wish = serde_json::json!({ "command": ["/web"] }); // serves until it is killed
    let _: panda_api_types::TaskView = panda.api().post(&app.path("/tasks"), &wish).await?;
    until("the task runs", async || Ok(panda.left_on_engine()?.0.len() >= 3)).await?;
    app.destroy().await?;
    until("its network is gone", async || Ok(panda.left_on_engine()?.1.len() == networks.len())).await
}

/// An image came from another server, and its settings never did.
async fn image_of_a_move_that_broke_off_goes(panda: &Installation, app: &App<'_>) -> anyhow::Result<()> {
    let config = "{}";
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config),
            "size": config.len(),
        },
        "layers": [],
    })
    .to_string();
    for (part, text) in [("blobs", config.to_owned()), ("manifests", manifest.clone())] {
        let path = app.path(&format!("/image/{part}/{}", digest(&text)));
        let request = panda.api().request(reqwest::Method::PUT, &path);
        let request = request.header("content-type", "application/vnd.oci.image.manifest.v1+json");
        let answer = request.body(text).send().await?;
        anyhow::ensure!(answer.status() == 204, "{}", answer.text().await?);
    }
    let own = app.releases().await?.remove(0).image;
    let (repository, _) = own.split_once('@').unwrap_or_default();
    let image = format!("{repository}@{}", digest(&manifest));
    assert_eq!(in_registry(panda, &image).await?, 200);
    let listed = format!("from doomed_images where digest = '{}' and deleting_at is null", digest(&manifest));
    // A day goes by.
    panda.tamper(&format!(
        "do $$ begin assert (select count(*) {listed}) = 1, 'it is listed'; end $$;
         update doomed_images set created_at = created_at - 86400000 where digest = '{}'",
        digest(&manifest)
    ))?;
    until("it is gone", async || Ok(in_registry(panda, &image).await? == 404)).await
}

fn digest(text: &str) -> String {
    format!("sha256:{}", ContentHash::of(text.as_bytes()))
}

/// Deletes an image from the registry behind the platform's back.
async fn lose(panda: &Installation, image: &str) -> anyhow::Result<()> {
    let status = ask_registry(panda, reqwest::Method::DELETE, image).await?;
    anyhow::ensure!(status == 202, "the registry answers {status}");
    Ok(())
}

/// Asks the registry for an image's manifest.
async fn in_registry(panda: &Installation, image: &str) -> anyhow::Result<u16> {
    ask_registry(panda, reqwest::Method::HEAD, image).await
}

async fn ask_registry(panda: &Installation, method: reqwest::Method, image: &str) -> anyhow::Result<u16> {
    let (repository, digest) = image.split_once('@').unwrap_or_default();
    let url = format!("http://{}/v2/{repository}/manifests/{digest}", panda.ground.pull);
    let key = RegistryKey::load_or_create(&panda.ground.registry_key, Clock::system())?;
    let token = match method {
        reqwest::Method::DELETE => key.delete_token(repository),
        _ => key.pull_token(repository, Duration::from_mins(1)),
    };
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.request(method, url).bearer_auth(token.reveal());
    let accepts = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
    Ok(request.header("accept", accepts).send().await?.status().as_u16())
}

fn files_below(folder: &Path) -> anyhow::Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { files_below(&entry.path())? } else { 1 };
    }
    Ok(files)
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_so().await? {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
