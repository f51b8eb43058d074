//! A cluster's nodes exchange the login that lies beside an app for a token of its repository, and of no other.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use panda_test_support::panda::TestPanda;
use serde_json::Value;

const YEAR: Duration = Duration::from_hours(365 * 24);

/// What a token may do, as a registry reads it.
fn access(token: &str) -> Value {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Value = serde_json::from_slice(&claims.unwrap_or_default()).unwrap_or_default();
    claims["access"].clone()
}

fn login(panda: &TestPanda, repository: &str) -> String {
    let key = panda.platform.registry_key.as_ref().expect("the tests' platform has a registry");
    key.login(repository, YEAR).reveal().to_owned()
}

#[tokio::test]
async fn a_node_gets_a_short_token_for_its_apps_repository_by_form_and_by_basic_authentication() {
    let panda = TestPanda::start().await;
    let login = login(&panda, "acme/api");
    let form = format!(
        "grant_type=password&service=panda-registry&scope=repository%3Aacme%2Fapi%3Apull%2Cpush+repository%3Aother%2Fapi%3Apull&username=panda&password={login}"
    );
    let answer = panda.anonymous().without_origin().form("/registry/token", &form).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    let token = answer.json["access_token"].as_str().unwrap_or_default();
    let wanted = serde_json::json!([{ "type": "repository", "name": "acme/api", "actions": ["pull"] }]);
    assert_eq!(access(token), wanted, "it reads its own and never pushes");
    assert_eq!(answer.json["expires_in"], 300);

    let basic = format!("Basic {}", STANDARD.encode(format!("panda:{login}")));
    let node = panda.anonymous().header("authorization", &basic);
    let path = "/registry/token?service=panda-registry&scope=repository%3Aacme%2Fapi%3Apull";
    let answer = node.get(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(access(answer.json["token"].as_str().unwrap_or_default()), wanted);
}

#[tokio::test]
async fn nobody_gets_a_token_without_a_login_of_ours() {
    let panda = TestPanda::start().await;
    let anyone = panda.anonymous().without_origin();
    let scope = "scope=repository%3Aacme%2Fapi%3Apull";
    for (path, authorization) in [
        (format!("/registry/token?{scope}"), String::new()),
        (format!("/registry/token?{scope}"), "Basic !".to_owned()),
        (format!("/registry/token?{scope}"), format!("Basic {}", STANDARD.encode("panda:guess"))),
        (format!("/registry/token?{scope}"), format!("Bearer {}", login(&panda, "acme/api"))),
    ] {
        let asker = if authorization.is_empty() {
            anyone.clone()
        } else {
            anyone.header("authorization", &authorization)
        };
        let answer = asker.get(&path).await;
        assert_eq!(
            (answer.status, answer.code()),
            (401, "unauthenticated"),
            "{authorization}: {}",
            answer.text
        );
    }
    for form in ["", "grant_type=refresh_token", &format!("grant_type=password&password=guess&{scope}")] {
        let answer = anyone.form("/registry/token", form).await;
        assert!(matches!(answer.status, 400 | 401 | 422), "{form}: {}", answer.status);
    }
}
