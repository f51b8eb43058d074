use std::time::Duration;

use panda_test_support::panda::{Answer, Client, TestPanda};
use serde_json::{Value, json};

async fn start(terminal: &Client) -> (String, String) {
    let started = terminal.post("/api/v1/device/code", json!({ "client_name": "laptop" })).await;
    assert_eq!(started.status, 200, "{}", started.text);
    let text = |v: &Value| v.as_str().expect("the field is text").to_owned();
    assert_eq!(started.json["interval"], 5);
    (text(&started.json["device_code"]), text(&started.json["user_code"]))
}

async fn poll(terminal: &Client, device_code: &str) -> Answer {
    terminal.post("/api/v1/device/token", json!({ "device_code": device_code })).await
}

#[tokio::test]
async fn a_terminal_signs_in_by_a_code_that_a_browser_approves() {
    let (panda, ann) = TestPanda::claimed().await;
    let terminal = panda.anonymous();
    let (device_code, user_code) = start(&terminal).await;
    assert_eq!(poll(&terminal, &device_code).await.code(), "authorization-pending");

    let approved =
        ann.post("/api/v1/device/approve", json!({ "user_code": user_code.to_lowercase(), "approve": true }));
    assert_eq!(approved.await.status, 204);
    panda.clock.advance(Duration::from_secs(5));
    let made = poll(&terminal, &device_code).await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert_eq!(made.json["token"]["scope"], "full");
    assert!(made.json["token"]["name"].as_str().is_some_and(|name| name.starts_with("laptop (from ")));
    let secret = made.json["secret"].as_str().expect("the secret is text");
    assert_eq!(terminal.with_token(secret).get("/api/v1/whoami").await.status, 200);

    panda.clock.advance(Duration::from_secs(5));
    assert_eq!(poll(&terminal, &device_code).await.code(), "expired");
}

#[tokio::test]
async fn whoever_polls_too_often_is_told_to_slow_down_until_they_do() {
    let (panda, _ann) = TestPanda::claimed().await;
    let terminal = panda.anonymous();
    let (device_code, _) = start(&terminal).await;
    assert_eq!(poll(&terminal, &device_code).await.code(), "authorization-pending");
    for _ in 0..3 {
        panda.clock.advance(Duration::from_secs(3));
        let slow = poll(&terminal, &device_code).await;
        assert_eq!((slow.status, slow.code(), slow.header("retry-after")), (429, "slow-down", "5"));
    }
    panda.clock.advance(Duration::from_secs(5));
    assert_eq!(poll(&terminal, &device_code).await.code(), "authorization-pending");
}

#[tokio::test]
async fn a_denied_or_late_login_gives_nothing() {
    let (panda, ann) = TestPanda::claimed().await;
    let terminal = panda.anonymous();
    let (denied, user_code) = start(&terminal).await;
    let no = ann.post("/api/v1/device/approve", json!({ "user_code": user_code, "approve": false })).await;
    assert_eq!(no.status, 204);
    assert_eq!(poll(&terminal, &denied).await.code(), "forbidden");
    let twice = ann.post("/api/v1/device/approve", json!({ "user_code": user_code, "approve": true })).await;
    assert_eq!(twice.code(), "expired");

    let (late, user_code) = start(&terminal).await;
    panda.clock.advance(Duration::from_secs(601));
    assert_eq!(poll(&terminal, &late).await.code(), "expired");
    let after = ann.post("/api/v1/device/approve", json!({ "user_code": user_code, "approve": true })).await;
    assert_eq!(after.code(), "expired");
    assert_eq!(poll(&terminal, "made-up").await.code(), "expired");
}

#[tokio::test]
async fn only_a_signed_in_browser_approves() {
    let (panda, ann) = TestPanda::claimed().await;
    let (_, user_code) = start(&panda.anonymous()).await;
    let body = json!({ "user_code": user_code, "approve": true });
    assert_eq!(panda.anonymous().post("/api/v1/device/approve", body.clone()).await.status, 401);
    let token = ann.token("ci", "full").await;
    assert_eq!(token.post("/api/v1/device/approve", body).await.status, 403);
}

#[tokio::test]
async fn two_polls_at_once_make_one_token() {
    let (panda, ann) = TestPanda::claimed().await;
    let terminal = panda.anonymous();
    let (device_code, user_code) = start(&terminal).await;
    ann.post("/api/v1/device/approve", json!({ "user_code": user_code, "approve": true })).await;
    let (one, two) = tokio::join!(poll(&terminal, &device_code), poll(&terminal, &device_code));
    let made = [&one, &two].into_iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 1, "{} {}", one.text, two.text);
    assert_eq!(ann.get("/api/v1/tokens").await.json["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn guessing_codes_is_slowed_down() {
    let (_panda, ann) = TestPanda::claimed().await;
    let guess = json!({ "user_code": "BBBB-BBBB", "approve": true });
    for _ in 0..10 {
        assert_eq!(ann.post("/api/v1/device/approve", guess.clone()).await.status, 410);
    }
    assert_eq!(ann.post("/api/v1/device/approve", guess).await.status, 429);
}
