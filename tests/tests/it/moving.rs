//! An app from one server to another, by a person who reaches both and sees no secret.

use panda_api_types::{Domain, EnvVariable, EventView, Page};
use panda_e2e::{App, Database, Installation, Options, Source, story};

#[test]
fn an_app_moves_to_another_server_with_image_secrets_scale_and_domains_and_stays_where_it_was() {
    story(async |old| {
        let new = Options { database: Database::Postgres, ..Options::default() };
        let new = Installation::start_with(&old.ground, new).await?;
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

        let there = App::find(&new, "shop").await?;
        there.settle(2).await?;
        // Its numbers begin anew.
        assert_eq!(app.fetch("/").await?, (200, "hello from v1 (v3)\n".into()));
        assert_eq!(there.fetch("/").await?, (200, "hello from v1 (v1)\n".into()));
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

        for (panda, kind) in [(old, "app.moved_out"), (&new, "app.moved_in")] {
            let events: Page<EventView> = panda.api().get("/apps/shop/events").await?;
            assert!(events.items.iter().any(|event| event.kind == kind), "{kind}");
        }
        assert_eq!(app.view().await?.state, "running");
        prober.stop().assert_no_failures();
        Ok(())
    });
}
