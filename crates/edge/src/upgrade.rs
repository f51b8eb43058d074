//! WebSockets: after the switch, bytes go both ways until one side ends, nothing moves, or the edge stops.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::account::Account;
use crate::upstream::body::AnswerBody;
use crate::upstream::connection::Connection;
use crate::upstream::response::Head;
use crate::worker::Worker;

const BUFFER_BYTES: usize = 16 << 10;

/// Who counts the bytes that are carried.
pub(crate) struct Traffic<'a> {
    pub(crate) inwards: &'a dyn Fn(usize),
    pub(crate) outwards: &'a dyn Fn(usize),
}

/// Answers with the switch, and lets a task of the worker carry the bytes.
pub(crate) fn switch(
    worker: &Rc<Worker>,
    connection: Box<Connection>,
    head: Head,
    on_upgrade: OnUpgrade,
    is_h2: bool,
    idle: Duration,
    account: Account,
) -> Response<AnswerBody> {
    let cut = worker.cut.clone();
    worker.tasks.spawn_local(async move {
        let carried = async {
            if let Ok(upgraded) = on_upgrade.await {
                let inwards = |count| account.add_bytes_in(count as u64);
                let outwards = |count| account.add_bytes_out(count);
                let traffic = Traffic { inwards: &inwards, outwards: &outwards };
                let _ = carry(TokioIo::new(upgraded), connection, idle, traffic).await;
            }
        };
        cut.run_until_cancelled(carried).await;
    });
    let mut response = Response::new(AnswerBody::own(Vec::new(), None));
    *response.headers_mut() = head.headers;
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    if is_h2 {
        headers.remove(header::UPGRADE);
        headers.remove(HeaderName::from_static("sec-websocket-accept"));
    } else {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    response
}

/// Makes the key that HTTP/1.1 wants and HTTP/2 doesn't have: 16 bytes in base64.
pub(crate) fn websocket_key(worker: &Worker) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = worker.seed ^ worker.shared.now_ms().rotate_left(32);
    let mut key: String = (0..21)
        .map(|_| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(DIGITS[usize::try_from(bits >> 58).expect("six bits fit")])
        })
        .collect();
    // 16 bytes fill 21 digits and two bits of one more.
    key.push_str("A==");
    key
}

/// Carries bytes both ways until both sides ended, one broke, or nothing moved for as long as `idle`.
pub(crate) async fn carry(
    client: impl AsyncRead + AsyncWrite,
    connection: Box<Connection>,
    idle: Duration,
    traffic: Traffic<'_>,
) -> io::Result<()> {
    let Connection { stream, read, .. } = *connection;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_instance, mut to_instance) = tokio::io::split(stream);
    to_client.write_all(&read).await?;
    to_client.flush().await?;
    let moved = Cell::new(Instant::now());
    let up = pump(&mut from_client, &mut to_instance, |count| {
        moved.set(Instant::now());
        (traffic.inwards)(count);
    });
    let down = pump(&mut from_instance, &mut to_client, |count| {
        moved.set(Instant::now());
        (traffic.outwards)(count);
    });
    let mut both = pin!(async { tokio::try_join!(up, down).map(|_| ()) });
    let mut timer = pin!(tokio::time::sleep(idle));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = both.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        while timer.as_mut().poll(cx).is_ready() {
            let until = moved.get() + idle;
            if until <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    })
    .await
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
        moved(count);
    }
}
