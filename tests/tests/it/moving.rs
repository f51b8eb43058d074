//! An app from one server to another, by a person who reaches both and sees no secret.

use panda_api_types::{App as AppView, Domain, EnvVariable, EventView, Page};
use panda_e2e::{App, Database, Installation, Options, Source, cluster_story, image, story};
use serde_json::json;

#[test]
fn an_app_moves_to_another_server_with_image_secrets_scale_and_domains_and_stays_where_it_was() {
    story(async |old| {
        let new = Options { database: Database::Postgres, ..Options::default() };
        let new = Installation::start_with(&old.ground, new).await?;
        an_app_moves(old, &new).await
    });
}

#[test]
fn an_app_moves_from_a_docker_host_to_a_cluster_with_all_that_it_has() {
    cluster_story(async |new| {
        let old = Installation::start(&new.ground).await?;
        an_app_moves(&old, new).await
    });
}

async fn an_app_moves(old: &Installation, new: &Installation) -> anyhow::Result<()> {
    let app = App::create(old, "shop").await?;
    let source = Source::sample("hello-node")?;
    app.deploy_source(&source).await?;
    app.set_env("GREETING", "hello", false).await?;
    app.set_env("API_KEY", "s3cret-of-the-shop", true).await?;
    app.scale(2).await?;
    app.settle(2).await?;
    let prober = app.probe()?;
    old.cli_ok(source.path(), &["domains", "add", "shop.example.com", "-a", "shop"]).await?;
    old.cli_ok(source.path(), &["login", "--server", &new.address, "--token", new.token()]).await?;

    let go = ["move", "--to-server", &new.address, "-a", "shop"];
    let done = old.cli(source.path(), &go).await?;
    anyhow::ensure!(done.code == Some(0), "{}\n{}", done.stdout, done.stderr);
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(!said.contains("s3cret-of-the-shop"), "{said}");
    assert!(said.contains("1 secrets (sealed)") && said.contains("layer "), "{said}");
    assert!(said.contains("_panda-challenge.shop.example.com"), "{said}");

    let there = App::find(new, "shop").await?;
    there.settle(2).await?;
    // Its numbers begin anew.
    assert_eq!(app.fetch("/").await?, (200, "hello from v1 (v3)\n".into()));
    there.answers_again("/", "hello from v1 (v1)\n").await?;
    let moved = (there.releases().await?, app.releases().await?);
    let digest = |image: &str| image.rsplit_once('@').map(|(_, digest)| digest.to_owned());
    assert_eq!(digest(&moved.0[0].image), digest(&moved.1[0].image));
    let env: Page<EnvVariable> = new.api().get(&there.path("/env?reveal=true")).await?;
    let env: Vec<_> = env.items.iter().map(|v| (v.key.as_str(), v.value.as_deref(), v.secret)).collect();
    assert_eq!(env, [("API_KEY", None, true), ("GREETING", Some("hello"), false)]);
    let domains: Page<Domain> = new.api().get(&there.path("/domains")).await?;
    assert!(domains.items.iter().any(|d| d.host == "shop.example.com" && !d.verified));
    // The one place where a secret may show itself: the app's own process.
    let seen = "console.log(process.env.API_KEY)";
    let seen = new.cli_ok(source.path(), &["exec", "-a", "shop", "--", "node", "-e", seen]).await?;
    assert!(seen.contains("s3cret-of-the-shop"), "{seen}");

    let again = old.cli(source.path(), &go).await?;
    anyhow::ensure!(again.code == Some(0), "{}\n{}", again.stdout, again.stderr);
    assert!(!again.stderr.contains("layer "), "nothing is sent twice: {}", again.stderr);
    assert_eq!(there.releases().await?.len(), moved.0.len(), "a second move makes no release");

    for (panda, kind) in [(old, "app.moved_out"), (new, "app.moved_in")] {
        let events: Page<EventView> = panda.api().get("/apps/shop/events").await?;
        assert!(events.items.iter().any(|event| event.kind == kind), "{kind}");
    }
    assert_eq!(app.view().await?.state, "running");
    prober.stop().assert_no_failures();
    Ok(())
}

#[test]
fn all_apps_of_a_project_move_to_a_cluster_and_those_of_others_stay() {
    cluster_story(async |new| {
        let old = Installation::start(&new.ground).await?;
        for (name, project) in [("front", "shop"), ("back", "shop"), ("blog", "home")] {
            let _: AppView = old.api().post("/apps", &json!({ "name": name, "project": project })).await?;
        }
        let source = Source::sample("hello-node")?;
        let (front, back) = (App::find(&old, "front").await?, App::find(&old, "back").await?);
        front.deploy_source(&source).await?;
        front.set_env("API_KEY", "s3cret-of-the-shop", true).await?;
        // Somebody's image, which the cluster pulls from where it is.
        back.deploy_live(&image(&old, "v1")).await?;
        back.scale(2).await?;
        App::find(&old, "blog").await?.deploy_live(&image(&old, "v1")).await?;
        old.cli_ok(source.path(), &["login", "--server", &new.address, "--token", new.token()]).await?;

        let done =
            old.cli(source.path(), &["move", "--to-server", &new.address, "--project", "shop"]).await?;
        anyhow::ensure!(done.code == Some(0), "{}\n{}", done.stdout, done.stderr);
        let (front_there, back_there) = (App::find(new, "front").await?, App::find(new, "back").await?);
        front_there.settle(1).await?;
        back_there.settle(2).await?;
        front_there.answers_again("/", "hello from v1 (v1)\n").await?;
        back_there.answers_again("/", "v1\n").await?;
        let seen = "console.log(process.env.API_KEY)";
        let seen = new.cli_ok(source.path(), &["exec", "-a", "front", "--", "node", "-e", seen]).await?;
        assert!(seen.contains("s3cret-of-the-shop"), "{seen}");
        let there: Page<AppView> = new.api().get("/apps").await?;
        let mut there: Vec<_> =
            there.items.iter().map(|app| (app.name.as_str(), app.project.as_str())).collect();
        there.sort_unstable();
        assert_eq!(there, [("back", "shop"), ("front", "shop")]);

        let nobody = ["move", "--to-server", &new.address, "--project", "nobody"];
        assert_eq!(old.cli(source.path(), &nobody).await?.code, Some(3), "a project that isn't there");
        Ok(())
    });
}
