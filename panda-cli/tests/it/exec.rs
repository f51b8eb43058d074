//! `exec` and `run`: input, output and exit codes travel.

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Json;
use axum::routing::{any, get, post};
use serde_json::{Value, json};

use crate::fake::{Fake, User, problem, sse};

async fn echo(mut socket: WebSocket) {
    let Some(Ok(Message::Text(first))) = socket.recv().await else { panic!("no first message") };
    let start: Value = serde_json::from_str(&first).unwrap();
    let command = start["command"].to_string();
    let mut out = vec![1];
    out.extend(command.as_bytes());
    socket.send(Message::binary(out)).await.unwrap();
    while let Some(Ok(message)) = socket.recv().await {
        match message {
            Message::Binary(bytes) => {
                let mut err = vec![2];
                err.extend(bytes);
                socket.send(Message::binary(err)).await.unwrap();
            }
            Message::Text(text) if text.contains("eof") => break,
            _ => {}
        }
    }
    socket.send(Message::text(json!({ "exit": 42 }).to_string())).await.unwrap();
}

#[test]
fn exec_carries_stdin_stdout_stderr_and_the_exit_code() {
    let routes = Router::new()
        .route("/apps/shop/exec", any(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo) }));
    let fake = Fake::start(routes);
    let user = User::of(&fake);
    for line in [&["exec", "-a", "shop", "--", "cat", "-x"][..], &["exec", "-a", "shop", "cat", "-x"]] {
        let ran = user.run(line, "some input");
        ran.ends(42);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("[\"cat\",\"-x\"]", "some input"));
    }
    assert_eq!(fake.seen()[0].authorization.as_deref(), Some("Bearer panda_test"));
}

#[test]
fn a_refused_exec_tells_why() {
    let refuse = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(async |mut socket| {
            // Closes while the client still sends, as a server does that never found an instance.
            let problem = json!({ "type": "x", "title": "x", "status": 409, "detail": "no instance is ready", "code": "conflict" });
            let _ = socket.send(Message::text(json!({ "problem": problem }).to_string())).await;
        })
    };
    let routes = Router::new()
        .route("/apps/shop/exec", any(refuse))
        .route("/apps/other/exec", any(|| async { problem(404, "not-found", "there is no app `other`") }))
        .route("/apps", get(|| async { Json(json!({ "items": [] })) }));
    let fake = Fake::start(routes);
    let user = User::of(&fake);
    assert!(user.panda("exec -a shop").ends(2).err.contains("needs a terminal"));
    assert!(user.panda("exec -a shop -- ls").ends(5).err.contains("no instance is ready"));
    assert!(user.panda("exec -a other -- ls").ends(3).err.contains("there is no app `other`"));
}

#[test]
fn run_prints_the_lines_and_exits_as_the_command_did() {
    let task = |state: &str, exit: Option<i64>| {
        json!({ "id": "tsk_1", "command": ["x"], "release": 3, "state": state, "exit_code": exit, "by": "ada",
            "created_at": "2020-01-01T00:00:00Z" })
    };
    let started = task("running", None);
    let ended = task("ended", Some(3));
    let lines = || async {
        let line = |stream: &str, text: &str| {
            ("line", json!({ "at": "x", "process": "task", "instance": "", "stream": stream, "line": text }))
        };
        sse(&[line("out", "to out"), line("err", "to err"), ("end", json!({}))], 1)
    };
    let routes = Router::new()
        .route(
            "/apps/shop/tasks",
            post(move || async move { (axum::http::StatusCode::CREATED, Json(started)) }),
        )
        .route("/apps/shop/tasks/tsk_1", get(move || async move { Json(ended) }))
        .route("/apps/shop/tasks/tsk_1/logs", get(lines));
    let fake = Fake::start(routes);
    let user = User::of(&fake);
    let ran = user.panda("run -a shop --timeout 2m -- ls -la");
    ran.ends(3);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("to out\n", "to err\n"));
    assert_eq!(
        fake.seen_at("POST", "/tasks")[0].json(),
        json!({ "command": ["ls", "-la"], "tty": false, "timeout_s": 120 })
    );
    assert_eq!(user.panda("run -a shop --detach -- ls").ends(0).out, "tsk_1\n");
}
