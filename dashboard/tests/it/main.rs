//! The pages through the real router, as a browser without JavaScript uses them.

use panda_test_support::panda::{Answer, Client, EMAIL, PASSWORD, TestPanda};
use serde_json::json;

fn assert_clean(page: &Answer) {
    assert!(page.header("content-type").starts_with("text/html"), "{}", page.text);
    for inline in ["<script>", "<style", " style=", " onclick", " onload", "javascript:"] {
        assert!(!page.text.contains(inline), "the policy forbids `{inline}`: {}", page.text);
    }
    for needed in ["<html lang=\"en\">", "<title>", "<main id=\"main\">", "<h1>"] {
        assert!(page.text.contains(needed), "{needed}");
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02x}") })
        .collect()
}

async fn sign_in(browser: &Client, password: &str) -> Answer {
    browser.form("/login", &format!("email={}&password={}&code=", encoded(EMAIL), encoded(password))).await
}

#[tokio::test]
async fn a_new_server_leads_to_its_claim_page_and_the_form_claims_it() {
    let panda = TestPanda::start().await;
    let anyone = panda.anonymous();
    for path in ["/", "/login"] {
        let led = anyone.get(path).await;
        assert_eq!((led.status, led.header("location")), (303, "/claim"), "{path}");
    }
    assert_clean(&anyone.get("/claim").await);
    let token = panda.claim_token().await.expect("a fresh server has a claim token");
    let body = |token: &str, password: &str| {
        format!("claim_token={token}&email={}&password={}&team=", encoded(EMAIL), encoded(password))
    };
    let weak = anyone.form("/claim", &body(&token, "short")).await;
    assert_eq!(weak.status, 422);
    assert!(weak.text.contains("role=\"alert\"") && !weak.text.contains("value=\"short\""));
    assert_clean(&weak);
    assert_eq!(anyone.form("/claim", &body("claim_wrong", PASSWORD)).await.status, 403);

    let claimed = anyone.form("/claim", &body(&token, PASSWORD)).await;
    assert_eq!((claimed.status, claimed.header("location")), (303, "/"), "{}", claimed.text);
    let home = anyone.with_cookie_of(&claimed).get("/").await;
    assert!(home.status == 200 && home.text.contains(EMAIL), "{}", home.text);
    assert_clean(&home);
    assert_eq!(anyone.get("/claim").await.header("location"), "/login");
    assert_eq!(anyone.form("/claim", &body(&token, PASSWORD)).await.status, 410);
}

#[tokio::test]
async fn a_person_signs_in_and_out_by_forms() {
    let (panda, _) = TestPanda::claimed().await;
    let browser = panda.anonymous();
    assert_eq!(browser.get("/").await.header("location"), "/login");
    let wrong = sign_in(&browser, "not the password").await;
    assert!(
        wrong.status == 401 && wrong.text.contains("the address or the password is wrong"),
        "{}",
        wrong.text
    );
    assert_clean(&wrong);
    let signed_in = sign_in(&browser, PASSWORD).await;
    assert_eq!((signed_in.status, signed_in.header("location")), (303, "/"));
    let ann = browser.with_cookie_of(&signed_in);
    assert_eq!(ann.get("/").await.status, 200);
    assert_eq!(ann.form("/logout", "").await.header("location"), "/login");
    assert_eq!(ann.get("/").await.header("location"), "/login");
}

#[tokio::test]
async fn another_sites_form_does_nothing() {
    let (_panda, ann) = TestPanda::claimed().await;
    let forged = ann.header("origin", "https://evil.example").form("/logout", "").await;
    assert_eq!(forged.status, 403);
    assert_eq!(ann.get("/").await.status, 200);
}

#[tokio::test]
async fn the_approval_page_shows_code_client_and_origin_as_text() {
    let (panda, ann) = TestPanda::claimed().await;
    let terminal = panda.anonymous();
    let name = "<script>alert(1)</script>";
    let started = terminal.post("/api/v1/device/code", json!({ "client_name": name })).await;
    let code = started.json["user_code"].as_str().expect("a code is text").to_owned();
    let link = started.json["verification_uri_complete"].as_str().expect("a link is text");
    let path = link.strip_prefix("https://panda.example.com").expect("the link is the platform's own");

    let led = terminal.get(path).await;
    assert_eq!(led.header("location"), format!("/login?code={code}"));
    let page = ann.get(path).await;
    assert_clean(&page);
    assert!(page.text.contains(&code) && page.text.contains("203.0.113.5"), "{}", page.text);
    assert!(
        page.text.contains("https://panda.example.com") && page.text.contains("&#60;script&#62;"),
        "{}",
        page.text
    );

    // Looking approves nothing.
    let device_code = started.json["device_code"].clone();
    let poll = async || terminal.post("/api/v1/device/token", json!({ "device_code": device_code })).await;
    assert_eq!(poll().await.code(), "authorization-pending");
    let done = ann.form("/device", &format!("code={code}&decision=approve")).await;
    assert!(done.status == 200 && done.text.contains("role=\"status\""), "{}", done.text);
    panda.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(poll().await.status, 200);
    assert_eq!(ann.form("/device", &format!("code={code}&decision=approve")).await.status, 410);
}

#[tokio::test]
async fn every_error_code_has_its_page() {
    let (panda, _) = TestPanda::claimed().await;
    let anyone = panda.anonymous();
    for code in panda_api_types::ErrorCode::ALL {
        let page = anyone.get(&format!("/docs/errors/{}", code.word())).await;
        assert!(
            page.status == 200 && page.text.contains(&format!("<code>{}</code>", code.word())),
            "{}",
            page.text
        );
        assert_clean(&page);
    }
    for code in panda_domain::failure::FailureCode::ALL {
        let page = anyone.get(&format!("/docs/errors/{}", code.word())).await;
        let title = format!("<h1><code>{}</code>: ", code.word());
        assert!(page.status == 200 && page.text.contains(&title), "{}", page.text);
        for part in ["What it means", "What to do", "Example"] {
            assert!(page.text.contains(part), "{part}: {}", page.text);
        }
        assert_clean(&page);
    }
    assert_eq!(anyone.get("/docs/errors/p207").await.status, 200);
    let unknown = anyone.get("/docs/errors/made-up").await;
    assert_eq!(unknown.status, 404);
    assert_clean(&unknown);
    let all = anyone.get("/docs/errors").await;
    assert_clean(&all);
    for word in ["not-found", "P101", "P502"] {
        assert!(all.text.contains(&format!("href=\"/docs/errors/{word}\"")), "{word}");
    }
}

#[tokio::test]
async fn the_documents_page_comes_with_all_it_needs() {
    let (panda, _) = TestPanda::claimed().await;
    let anyone = panda.anonymous();
    let page = anyone.get("/docs").await;
    assert_clean(&page);
    for asset in ["/assets/panda.css", "/assets/docs.js"] {
        assert!(page.text.contains(asset));
        let asset = anyone.get(asset).await;
        assert_eq!((asset.status, asset.header("cache-control")), (200, "public, max-age=3600"));
        assert_eq!(asset.header("x-content-type-options"), "nosniff");
    }
}
