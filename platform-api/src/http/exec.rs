//! Exec over a WebSocket: input and output as binary messages, sizes and the exit code as JSON.

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use panda_api_types::{ErrorCode, ExecStart};
use panda_deployer::runtime::{ExecRequest, ExecSession, ExecSize, LogStream};
use panda_domain::ids::TaskId;
use panda_domain::names::{AppName, ProcessName};
use panda_domain::team::Permission;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::origin::require_own_origin;
use super::{Path, Query, Shared, Target, TargetParams};
use crate::app::exec::{self, ExecWish};
use crate::app::tasks;
use crate::auth::Principal;
use crate::error::{Error, InField, Result};

/// How long the first message may take.
const GREETING: Duration = Duration::from_secs(10);
/// How often it is asked whether the login still holds: a revoked one loses its terminal within five seconds.
const RECHECK: Duration = Duration::from_secs(4);
/// Messages of input that wait for a command that doesn't read; the client waits for the rest.
const INPUT_MESSAGES: usize = 16;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(exec)).routes(routes!(attach))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SizeQuery {
    /// Columns of the terminal.
    columns: Option<u16>,
    /// Rows of the terminal.
    rows: Option<u16>,
}

#[derive(Debug, Deserialize)]
struct TaskPath {
    id: String,
}

/// Runs a command inside a running instance. A WebSocket; the first text message is an `ExecStart`.
#[utoipa::path(get, path = "/apps/{app}/exec", tag = "exec", params(TargetParams), responses((status = 101, body = ExecStart)))]
async fn exec(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    headers: HeaderMap,
    OriginalUri(uri): OriginalUri,
    upgrade: std::result::Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response> {
    require_own_origin(&platform.settings, &principal, &headers, &uri)?;
    // Asked before the upgrade, so that nobody learns by a WebSocket whether an app is there.
    principal.require(Permission::Deploy, Some(&target.app))?;
    crate::app::apps::read(&mut platform.store.read().await?, &principal, &target.app, &target.environment)
        .await?;
    let upgrade = upgrade.map_err(|_| not_a_websocket())?;
    Ok(upgrade.on_upgrade(async move |mut socket| {
        let opened = match greeting(&mut socket).await {
            Ok(wish) => exec::open(&platform, &principal, &target.app, &target.environment, wish).await,
            Err(error) => Err(error),
        };
        talk(socket, opened, &platform, &principal, &target.app).await;
    }))
}

/// Attaches to a task's terminal and streams. A WebSocket, as for exec but without the first message.
#[utoipa::path(get, path = "/apps/{app}/tasks/{id}/attach", tag = "exec", params(TargetParams, SizeQuery, ("id" = String, Path,)),
    responses((status = 101)))]
#[expect(clippy::too_many_arguments, reason = "a handler takes what the request has")]
async fn attach(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(path): Path<TaskPath>,
    Query(size): Query<SizeQuery>,
    headers: HeaderMap,
    OriginalUri(uri): OriginalUri,
    upgrade: std::result::Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response> {
    require_own_origin(&platform.settings, &principal, &headers, &uri)?;
    principal.require(Permission::Deploy, Some(&target.app))?;
    let id: TaskId = path.id.parse().map_err(|_| Error::not_found("task"))?;
    tasks::show(&platform, &principal, &target.app, &target.environment, &id).await?;
    let upgrade = upgrade.map_err(|_| not_a_websocket())?;
    let size = size.columns.zip(size.rows).map(|(columns, rows)| ExecSize { columns, rows });
    Ok(upgrade.on_upgrade(async move |socket| {
        let opened = tasks::attach(&platform, &principal, &target.app, &target.environment, &id, size).await;
        talk(socket, opened, &platform, &principal, &target.app).await;
    }))
}

fn not_a_websocket() -> Error {
    Error::new(ErrorCode::InvalidRequest, "this address wants a WebSocket").with_hint("use `panda exec`")
}

async fn greeting(socket: &mut WebSocket) -> Result<ExecWish> {
    let first = tokio::time::timeout(GREETING, socket.recv())
        .await
        .map_err(|_| Error::new(ErrorCode::Timeout, "no first message came"))?;
    let Some(Ok(Message::Text(text))) = first else {
        return Err(Error::invalid_field("", "the first message has to be text"));
    };
    let start: ExecStart = serde_json::from_str(&text)
        .map_err(|_| Error::invalid_field("", "the first message has to be an ExecStart"))?;
    Ok(ExecWish {
        process: start.process.map(|p| p.parse::<ProcessName>().in_field("process")).transpose()?,
        instance: start.instance.map(|i| i.parse().map_err(|_| Error::not_found("instance"))).transpose()?,
        request: ExecRequest {
            command: start.command,
            tty: start.tty,
            size: start.size.map(|(columns, rows)| ExecSize { columns, rows }),
        },
    })
}

/// Carries both directions until the command ends, the client leaves, or the login is revoked.
async fn talk(
    mut socket: WebSocket,
    opened: Result<ExecSession>,
    platform: &Shared,
    principal: &Principal,
    app: &AppName,
) {
    let last = match opened {
        Ok(session) => carry(&mut socket, session, platform, principal, app).await,
        Err(error) => Some(json!({ "problem": error.to_problem(None) })),
    };
    if let Some(last) = last {
        let _ = socket.send(Message::text(last.to_string())).await;
    }
    let _ = socket.send(Message::Close(None)).await;
}

async fn carry(
    socket: &mut WebSocket,
    session: ExecSession,
    platform: &Shared,
    principal: &Principal,
    app: &AppName,
) -> Option<serde_json::Value> {
    let ExecSession { mut output, input: mut stdin, resize, exit, .. } = session;
    let mut recheck = tokio::time::interval(RECHECK);
    // Input goes its own way: a command that reads none, or waits until its output is taken, must hold up nothing else.
    let (typed, mut waiting) = mpsc::channel(INPUT_MESSAGES);
    let mut writing = std::pin::pin!(async {
        while let Some(message) = waiting.recv().await {
            input(&mut stdin, &resize, message).await;
        }
    });
    loop {
        tokio::select! {
            () = &mut writing => break,
            chunk = output.next() => match chunk {
                Some(Ok((stream, bytes))) => {
                    if socket.send(Message::Binary(framed(stream, &bytes))).await.is_err() {
                        return None;
                    }
                }
                Some(Err(_)) => return Some(json!({ "problem": Error::unavailable("the session was cut").to_problem(None) })),
                None => break,
            },
            message = socket.recv(), if typed.capacity() > 0 => match message {
                Some(Ok(message)) => drop(typed.try_send(message)),
                Some(Err(_)) | None => return None,
            },
            _ = recheck.tick() => if principal.still_may(&platform.store, Permission::Deploy, Some(app)).await.is_ok_and(|holds| !holds) {
                return Some(json!({ "problem": Error::unauthenticated().to_problem(None) }));
            },
            () = platform.shutdown.cancelled() => {
                return Some(json!({ "problem": Error::unavailable("the server is stopping").to_problem(None) }));
            }
        }
    }
    match exit.await {
        Ok(code) => Some(json!({ "exit": code })),
        Err(_) => {
            Some(json!({ "problem": Error::unavailable("the exit code can't be had").to_problem(None) }))
        }
    }
}

fn framed(stream: LogStream, bytes: &Bytes) -> Bytes {
    let mut frame = BytesMut::with_capacity(bytes.len() + 1);
    frame.put_u8(match stream {
        LogStream::Out => 1,
        LogStream::Err => 2,
    });
    frame.extend_from_slice(bytes);
    frame.freeze()
}

/// What the client may say besides input.
#[derive(Debug, Deserialize)]
struct Control {
    resize: Option<(u16, u16)>,
    #[serde(default)]
    eof: bool,
}

async fn input(
    stdin: &mut (impl AsyncWrite + Unpin + ?Sized),
    resize: &mpsc::Sender<ExecSize>,
    message: Message,
) {
    match message {
        // A command that no longer reads must not end the session: its output is still wanted.
        Message::Binary(bytes) => drop(stdin.write_all(&bytes).await),
        Message::Text(text) => {
            let Ok(control) = serde_json::from_str::<Control>(&text) else { return };
            if let Some((columns, rows)) = control.resize {
                let _ = resize.try_send(ExecSize { columns, rows });
            }
            if control.eof {
                let _ = stdin.shutdown().await;
            }
        }
        _ => {}
    }
}
