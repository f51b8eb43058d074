use panda_test_support::panda::{PASSWORD, TestPanda};
use serde_json::{Value, json};

fn body(token: &str, email: &str) -> Value {
    json!({ "claim_token": token, "email": email, "password": PASSWORD })
}

#[tokio::test]
async fn an_unclaimed_server_answers_nothing_but_the_first_steps() {
    let panda = TestPanda::start().await;
    let anyone = panda.anonymous();
    let refused = anyone.get("/api/v1/apps").await;
    assert_eq!((refused.status, refused.code()), (409, "unclaimed"));
    assert_eq!(
        anyone.post("/api/v1/login", json!({ "email": "a@b.c", "password": "x" })).await.code(),
        "unclaimed"
    );
    let server = anyone.get("/api/v1/server").await;
    assert_eq!((server.status, &server.json["claimed"]), (200, &json!(false)));
    assert_eq!(anyone.get("/healthz").await.status, 200);
    assert_eq!(anyone.get("/readyz").await.status, 200);
    assert_eq!(anyone.get("/api/openapi.json").await.status, 200);
}

#[tokio::test]
async fn the_console_token_makes_an_owner_once() {
    let panda = TestPanda::start().await;
    let token = panda.claim_token().await.expect("an unclaimed server has a claim token");
    let anyone = panda.anonymous();

    let wrong = anyone.post("/api/v1/claim", body("claim_wrong", "eve@example.com")).await;
    assert_eq!((wrong.status, wrong.code()), (403, "forbidden"));

    let claimed = anyone.post("/api/v1/claim", body(&token, "Ann@Example.com")).await;
    assert_eq!(claimed.status, 200, "{}", claimed.text);
    assert_eq!(claimed.json["role"], "owner");
    assert_eq!(claimed.json["email"], "ann@example.com");
    assert_eq!(claimed.json["team_name"], "default");
    let cookie = claimed.header("set-cookie");
    for part in ["__Host-panda=", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }

    let again = anyone.post("/api/v1/claim", body(&token, "eve@example.com")).await;
    assert_eq!((again.status, again.code()), (410, "expired"));
    assert!(panda.claim_token().await.is_none());
    let owner = anyone.with_cookie_of(&claimed);
    assert_eq!(owner.get("/api/v1/projects").await.json["items"][0]["name"], "default");
}

#[tokio::test]
async fn of_two_claims_at_once_one_wins() {
    let panda = TestPanda::start().await;
    let token = panda.claim_token().await.expect("an unclaimed server has a claim token");
    let anyone = panda.anonymous();
    let (one, two) = tokio::join!(
        anyone.post("/api/v1/claim", body(&token, "one@example.com")),
        anyone.post("/api/v1/claim", body(&token, "two@example.com")),
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410], "{} {}", one.text, two.text);
    let winner = anyone.with_cookie_of(if one.status == 200 { &one } else { &two });
    assert_eq!(winner.get("/api/v1/members").await.json["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn guessing_the_claim_token_is_slowed_down() {
    let panda = TestPanda::start().await;
    panda.claim_token().await.expect("an unclaimed server has a claim token");
    let anyone = panda.anonymous();
    for _ in 0..20 {
        assert_eq!(anyone.post("/api/v1/claim", body("claim_guess", "eve@example.com")).await.status, 403);
    }
    let limited = anyone.post("/api/v1/claim", body("claim_guess", "eve@example.com")).await;
    assert_eq!(limited.status, 429);
    assert!(!limited.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_guessable_password_is_no_password() {
    let panda = TestPanda::start().await;
    let token = panda.claim_token().await.expect("an unclaimed server has a claim token");
    for password in ["short", "password1234", "aaaaaaaaaaaaa"] {
        let body = json!({ "claim_token": token, "email": "ann@example.com", "password": password });
        let refused = panda.anonymous().post("/api/v1/claim", body).await;
        assert_eq!(refused.status, 422);
        assert_eq!(refused.json["errors"][0]["field"], "password");
        assert!(!refused.text.contains(password));
    }
}
