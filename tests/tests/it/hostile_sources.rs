//! Sources that nobody should send: refused whole, or seen as the builder sees them.

use panda_api_types::{DeployRequest, TreeRequest, TreeView};
use panda_domain::source_tree::ContentHash;
use panda_e2e::api::{answer, body};
use panda_e2e::source::frames;
use panda_e2e::{Api, App, Refusal, Source, story, tree};
use reqwest::Method;
use serde_json::{Value, json};

use crate::hostile::refused;

fn file(path: &str, content: &str) -> Value {
    json!({ "path": path, "type": "file", "executable": false, "size": content.len(), "sha256": ContentHash::of(content.as_bytes()) })
}

async fn announce(api: &Api, entries: &[Value]) -> Result<TreeView, Refusal> {
    let listing = Value::from(entries.to_vec()).to_string();
    api.send(Method::PUT, "/uploads/trees", &TreeRequest { listing }).await
}

#[test]
fn source_listings_that_reach_out_are_refused_whole() {
    story(async |panda| {
        let link = |path: &str, target: &str| json!({ "path": path, "type": "symlink", "target": target });
        let api = panda.api();
        for (what, entries) in [
            ("../", vec![file("../../etc/x", "x")]),
            ("an absolute path", vec![file("/etc/x", "x")]),
            ("a link out", vec![link("a", "../../etc")]),
            ("an absolute link", vec![link("a", "/etc/passwd")]),
            ("a write through a link", vec![link("a", "b"), file("a/x", "x")]),
            ("a path listed twice", vec![file("a", "x"), file("a", "y")]),
            ("a device", vec![json!({ "path": "dev", "type": "device", "major": 1, "minor": 3 })]),
            ("a NUL", vec![file("a\0b", "x")]),
            ("a name of 4 kB", vec![file(&"n".repeat(4096), "x")]),
            ("70 levels", vec![file(&["d"; 70].join("/"), "x")]),
            ("no entry but a word", vec![json!("x")]),
        ] {
            refused(what, announce(api, &entries).await, None);
        }
        let bomb = json!({ "path": "big", "type": "file", "executable": false, "size": 1_u64 << 50, "sha256": ContentHash::of(b"") });
        refused("a petabyte", announce(api, &[bomb]).await, None);
        Ok(())
    });
}

#[test]
fn a_source_that_says_two_things_is_what_the_builder_sees_or_refused() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        // Names that differ by case, or by how an accent is written, are two files; a long one is whole.
        let long = format!("{}.txt", "n".repeat(240));
        let pairs = [
            ("Page.txt", "upper"),
            ("page.txt", "lower"),
            ("e\u{301}.txt", "two code points"),
            ("\u{e9}.txt", "one code point"),
            (long.as_str(), "long"),
        ];
        let files: Vec<(&str, &str)> = [("index.html", "hello")].into_iter().chain(pairs).collect();
        app.deploy_source(&Source::of(&files)?).await?;
        for (name, content) in pairs {
            assert_eq!(app.fetch(&format!("/{name}")).await?, (200, content.to_owned()), "{name:?}");
        }

        let sized = |path: &str, content: &str, size: usize| {
            let mut entry = file(path, content);
            entry["size"] = json!(size);
            entry
        };
        let listed = async |entries: &[Value], contents: &[&str]| {
            let view = announce(panda.api(), entries).await?;
            let contents: Vec<_> = contents
                .iter()
                .map(|text| (ContentHash::of(text.as_bytes()), text.as_bytes().to_vec()))
                .filter(|(hash, _)| view.missing.contains(&hash.to_string()))
                .collect();
            let kind = "application/vnd.panda.blobs+zstd";
            let request = panda.api().request(Method::POST, "/uploads/blobs").header("content-type", kind);
            let _: Value = answer(request.body(frames(&contents)?)).await?;
            anyhow::Ok(tree(&view.tree))
        };
        // The listing says ten bytes, the content has 600 kB: read by the listing, it would be another file.
        let long = "#".repeat(600 << 10);
        let two = [file("index.html", "hello"), sized("panda.toml", &long, 10)];
        let request = listed(&two, &["hello", &long]).await?;
        refused("a panda.toml that is longer than listed", app.ask(&request).await, Some("panda.toml"));
        for size in [1, 4000] {
            let two = [file("index.html", "hello"), sized("page.html", "another", size)];
            let ended = app.deploy(&listed(&two, &["hello", "another"]).await?).await?;
            assert_eq!(
                (ended.state.as_str(), ended.failure_code.as_deref()),
                ("build_failed", Some("P112")),
                "{ended:?}"
            );
        }
        assert_eq!(app.fetch("/page.txt").await?, (200, "lower".to_owned()));
        Ok(())
    });
}

#[test]
fn a_cut_upload_keeps_what_came_whole_and_a_lie_about_a_hash_is_refused() {
    story(async |panda| {
        let api = panda.api();
        let contents: Vec<_> =
            ["one", "two"].map(|text| (ContentHash::of(text.as_bytes()), text.as_bytes().to_vec())).into();
        let entries = [file("a", "one"), file("b", "two")];
        assert_eq!(announce(api, &entries).await?.missing.len(), 2);

        let send = |bytes: Vec<u8>| {
            let kind = "application/vnd.panda.blobs+zstd";
            body(api.request(Method::POST, "/uploads/blobs").header("content-type", kind).body(bytes))
        };
        let mut plain = zstd::decode_all(frames(&contents)?.as_slice())?;
        plain.truncate(plain.len() - 2);
        refused("a cut upload", send(zstd::encode_all(plain.as_slice(), 3)?).await, None);
        let left = announce(api, &entries).await?;
        assert_eq!(
            left.missing,
            [contents[1].0.to_string()],
            "the whole first file is kept, the second isn't there"
        );

        let lie = frames(&[(contents[1].0, b"TWO".to_vec())])?;
        refused("wrong contents", send(lie).await, None);
        let bomb = zstd::encode_all(vec![0_u8; 64 << 20].as_slice(), 3)?;
        refused("zeros without end", send(bomb).await, None);
        refused("no zstd", send(b"hello".to_vec()).await, None);
        assert!(!announce(api, &entries).await?.complete);
        let app = App::create(panda, "web").await?;
        let request = DeployRequest { tree: Some(left.tree), ..DeployRequest::default() };
        refused("a tree that isn't whole", app.ask(&request).await, None);
        Ok(())
    });
}
