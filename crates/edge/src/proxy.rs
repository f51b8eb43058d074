//! One request from its head to its answer: route, instance, exchange, second attempt.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use crate::access_log::{Entry, unix_ms};
use crate::account::Account;
use crate::answer::Answer;
use crate::client_io::Watch;
use crate::guard::{self, Subject};
use crate::hold::{GaveUp, Hold};
use crate::page;
use crate::table::{Choice, LiveRoute, Site};
use crate::upgrade;
use crate::upstream::body::{AnswerBody, InstanceBody};
use crate::upstream::connection::Connection;
use crate::upstream::exchange::{Failure, exchange};
use crate::upstream::instance::Instance;
use crate::upstream::request::{self, Length, Origin, Upload, UploadError};
use crate::upstream::response::Head;
use crate::worker::Worker;

const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// Answers one request.
pub(crate) async fn answer(
    worker: Rc<Worker>,
    watch: Arc<Watch>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let busy = watch.begin(&worker.shared);
    let is_h1 = request.version() != Version::HTTP_2;
    let mut response = respond(&worker, &watch, request).await;
    if is_h1 {
        if worker.shared.is_draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    } else {
        response.headers_mut().remove(header::CONNECTION);
    }
    response.map(|body| Answer::new(body, busy))
}

async fn respond(
    worker: &Rc<Worker>,
    watch: &Arc<Watch>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let started = Instant::now();
    let mut request = request;
    let is_connect = request.method() == Method::CONNECT
        && request
            .extensions()
            .get::<hyper::ext::Protocol>()
            .is_some_and(|name| name.as_str() == "websocket");
    let wants_upgrade = is_connect || request.headers().contains_key(header::UPGRADE);
    let on_upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let is_chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
    let subject = guard::check(&parts, is_connect, |look| watch.take_record(look));
    if !is_chunked {
        watch.take_record(|_| ());
    }
    let subject = match subject {
        Ok(subject) => subject,
        Err(refusal) => {
            worker.shared.unrouted.fetch_add(1, Relaxed);
            return page::closing(refusal.status, refusal.reason, None);
        }
    };
    let path = parts.uri.path();
    let (route, account) = match find(worker, watch, &parts, &subject, path, started) {
        Ok(found) => found,
        Err(response) => return *response,
    };
    let length = Length::of(&body);
    if matches!(length, Length::Known(length) if length > route.options.body_limit_bytes) {
        return too_large(&route, account);
    }
    let upload = (length != Length::None && !subject.is_websocket)
        .then(|| Upload::new(body, length, route.options.body_limit_bytes));
    let on_upgrade = on_upgrade.filter(|_| subject.is_websocket);
    let attempt = Attempt { worker, watch, parts: &parts, subject: &subject, length, upload, account };
    attempt.deliver(route, on_upgrade).await
}

fn too_large(route: &LiveRoute, account: Account) -> Response<AnswerBody> {
    let reason = format!("the body is larger than {} bytes", route.options.body_limit_bytes);
    page::closing(StatusCode::PAYLOAD_TOO_LARGE, &reason, Some(account))
}

type Found = Result<(Arc<LiveRoute>, Account), Box<Response<AnswerBody>>>;

/// Finds the route, or the answer that needs none.
fn find(
    worker: &Rc<Worker>,
    watch: &Watch,
    parts: &Parts,
    subject: &Subject<'_>,
    path: &str,
    started: Instant,
) -> Found {
    let table = worker.shared.table.load();
    if let Some(token) = path.strip_prefix(CHALLENGE_PATH) {
        // Never an app's business: whoever answers here gets certificates for the host.
        return Err(Box::new(match table.challenge(&subject.host, token) {
            Some(answer) => page::text(StatusCode::OK, answer, None),
            None => page::text(StatusCode::NOT_FOUND, "404 No such challenge.\n", None),
        }));
    }
    let open = |stats: &Arc<_>, route: &str| {
        let log = worker.shared.log.as_ref().map(|log| {
            let mut entry = entry(watch, parts, subject, path);
            route.clone_into(&mut entry.route);
            let stats: &Arc<crate::metrics::AppStats> = stats;
            entry.app = stats.app.to_string();
            Box::new((log.clone(), entry))
        });
        Account::open(Arc::clone(stats), worker.index, started, log)
    };
    match table.sites.find(&subject.host).map(|site| &**site) {
        Some(Site::Redirect { to, status, stats }) => {
            let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
            let account = open(stats, "redirect");
            Err(Box::new(page::redirect(status, &format!("{to}{target}"), Some(account))))
        }
        Some(site) => {
            let Some(route) = site.route(path) else { return Err(Box::new(unclaimed(worker, subject))) };
            let account = open(&route.stats, &route.id);
            if route.options.force_https && !watch.is_tls && !worker.is_forwarded_https(watch, parts) {
                let location = https_location(worker, subject, parts);
                let status = StatusCode::PERMANENT_REDIRECT;
                return Err(Box::new(page::redirect(status, &location, Some(account))));
            }
            Ok((Arc::clone(route), account))
        }
        None => Err(Box::new(unclaimed(worker, subject))),
    }
}

fn unclaimed(worker: &Worker, subject: &Subject<'_>) -> Response<AnswerBody> {
    worker.shared.unrouted.fetch_add(1, Relaxed);
    page::no_app(&subject.host)
}

fn https_location(worker: &Worker, subject: &Subject<'_>, parts: &Parts) -> String {
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    match worker.shared.https_port {
        Some(port) if port != 443 => format!("https://{}:{port}{target}", subject.host),
        _ => format!("https://{}{target}", subject.host),
    }
}

fn entry(watch: &Watch, parts: &Parts, subject: &Subject<'_>, path: &str) -> Entry {
    let id = parts.headers.get("x-request-id").map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    Entry {
        at_ms: unix_ms(),
        client: watch.peer_text.clone(),
        method: parts.method.to_string(),
        scheme: if watch.is_tls { "https" } else { "http" },
        host: subject.host.to_string(),
        // The query may hold tokens: it isn't logged.
        path: path.chars().take(1024).collect(),
        version: match parts.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        },
        request_id: id,
        ..Entry::default()
    }
}

/// A request on its way to an instance.
struct Attempt<'a> {
    worker: &'a Rc<Worker>,
    watch: &'a Watch,
    parts: &'a Parts,
    subject: &'a Subject<'a>,
    length: Length,
    upload: Option<Upload>,
    account: Account,
}

impl Attempt<'_> {
    async fn deliver(
        mut self,
        route: Arc<LiveRoute>,
        on_upgrade: Option<hyper::upgrade::OnUpgrade>,
    ) -> Response<AnswerBody> {
        let mut route = route;
        let mut hold: Option<Hold> = None;
        let (mut tried, mut again) = (None, false);
        loop {
            let instance = match route.choose(self.worker.shared.now_ms(), tried.take()) {
                Choice::Instance(instance) => instance,
                Choice::Wait(again_in) => match self.wait(&mut hold, &route, again_in).await {
                    Ok(Some(next)) => {
                        route = next;
                        continue;
                    }
                    Ok(None) => return page::no_app(&self.subject.host),
                    Err(gave_up) => return self.give_up(gave_up, &route),
                },
            };
            self.account.use_instance(&instance);
            let pooled = if again { None } else { self.worker.pool.take(&instance) };
            let mut connection = match pooled {
                Some(connection) => connection,
                None => {
                    if let Ok(connection) = self.connect(&route, &instance).await {
                        connection
                    } else {
                        tried = Some(instance.uid);
                        continue;
                    }
                }
            };
            hold = None;
            self.encode_head(&mut connection);
            let deadline = Duration::from_millis(route.options.response_timeout_ms);
            match exchange(&mut connection, &self.parts.method, &mut self.upload, deadline).await {
                Ok(head) => return self.finish(&route, connection, head, on_upgrade),
                Err(failure) if !again && self.may_repeat(&failure, &connection) => {
                    again = true;
                    tried = (!connection.reused).then_some(instance.uid);
                    self.account.counters().retries.add(1);
                }
                Err(failure) => return self.fail(&failure, &route, &instance),
            }
        }
    }

    async fn connect(&self, route: &LiveRoute, instance: &Arc<Instance>) -> Result<Box<Connection>, ()> {
        let deadline = Duration::from_millis(route.options.connect_timeout_ms);
        match Connection::open(Arc::clone(instance), deadline).await {
            Ok(connection) => {
                if instance.accepted() {
                    self.worker.shared.wake_held();
                }
                Ok(connection)
            }
            Err(error) => {
                instance.eject(self.worker.shared.now_ms());
                self.account.counters().upstream_errors.add(1);
                self.account.counters().retries.add(1);
                tracing::debug!(%error, "instance `{}` at {} refused a connection", instance.id, instance.address);
                Err(())
            }
        }
    }

    /// Waits for an instance; returns the route as it is afterwards, `None` if it is gone.
    async fn wait(
        &mut self,
        hold: &mut Option<Hold>,
        route: &Arc<LiveRoute>,
        again_in: Option<Duration>,
    ) -> Result<Option<Arc<LiveRoute>>, GaveUp> {
        self.account.release_instance();
        match hold {
            None => {
                *hold =
                    Some(Hold::begin(&self.worker.shared, &route.stats, self.worker.index, &route.options)?);
            }
            Some(hold) => hold.wait(again_in).await?,
        }
        let table = self.worker.shared.table.load();
        let site = table.sites.find(&self.subject.host);
        Ok(site.and_then(|site| site.route(self.parts.uri.path())).cloned())
    }

    fn encode_head(&self, connection: &mut Connection) {
        let trusted = !self.worker.shared.trusted.is_empty() && self.worker.shared.trusts(self.watch.peer);
        let forwarded = trusted.then(|| forwarded_for(&self.parts.headers, &self.watch.peer_text)).flatten();
        let mut id = [0_u8; 32];
        let request_id =
            (!self.parts.headers.contains_key("x-request-id")).then(|| self.worker.request_id(&mut id));
        let websocket_key = self.subject.is_websocket.then(|| {
            if self.parts.method == Method::CONNECT {
                upgrade::websocket_key(self.worker)
            } else {
                String::new()
            }
        });
        let origin = Origin {
            host: &self.subject.authority,
            forwarded_for: forwarded.as_deref().unwrap_or(&self.watch.peer_text),
            scheme: if self.watch.is_tls { "https" } else { "http" },
            request_id,
            trusted,
            websocket: websocket_key.as_deref(),
        };
        request::encode(&mut connection.head, self.parts, &origin, self.length);
    }

    /// Returns whether nothing is lost and nothing is done twice if the request is sent once more.
    fn may_repeat(&self, failure: &Failure, connection: &Connection) -> bool {
        let Failure::Broken { unsent, .. } = failure else { return false };
        let untouched = self.upload.as_ref().is_none_or(|upload| !upload.started);
        untouched && ((*unsent && connection.reused) || self.parts.method.is_idempotent())
    }

    fn finish(
        mut self,
        route: &LiveRoute,
        connection: Box<Connection>,
        mut head: Head,
        on_upgrade: Option<hyper::upgrade::OnUpgrade>,
    ) -> Response<AnswerBody> {
        self.account.answered(head.status);
        let idle = Duration::from_millis(route.options.idle_timeout_ms);
        if let Some(upload) = &self.upload {
            self.account.add_bytes_in(upload.bytes);
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(on_upgrade) = on_upgrade else {
                return page::closing(StatusCode::BAD_GATEWAY, "the app switched protocols unasked", None);
            };
            let is_h2 = self.parts.version == Version::HTTP_2;
            return upgrade::switch(self.worker, connection, head, on_upgrade, is_h2, idle, self.account);
        }
        let upload = self.upload.take().filter(|upload| !upload.is_done());
        let headers = std::mem::take(&mut head.headers);
        let status = head.status;
        let pool = Rc::clone(&self.worker.pool);
        let body = InstanceBody::new(connection, &mut head, upload, pool, idle, self.account);
        let mut response = Response::new(AnswerBody::Instance(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn fail(self, failure: &Failure, route: &LiveRoute, instance: &Instance) -> Response<AnswerBody> {
        let account = self.account;
        if !matches!(failure, Failure::Upload(_) | Failure::Stalled) {
            account.counters().upstream_errors.add(1);
            tracing::debug!("instance `{}` of route `{}` failed: {failure}", instance.id, route.id);
        }
        match failure {
            Failure::Upload(UploadError::TooLarge) => too_large(route, account),
            Failure::Upload(_) => page::closing(StatusCode::BAD_REQUEST, "the body broke off", Some(account)),
            Failure::Stalled => {
                page::closing(StatusCode::REQUEST_TIMEOUT, "the body stood still for too long", Some(account))
            }
            Failure::Timeout(after) => {
                let reason = format!("the app didn't answer within {} ms", after.as_millis());
                page::closing(StatusCode::GATEWAY_TIMEOUT, &reason, Some(account))
            }
            Failure::Broken { .. } | Failure::CutShort | Failure::Head(_) => {
                page::closing(StatusCode::BAD_GATEWAY, "the app broke off its answer", Some(account))
            }
        }
    }

    fn give_up(self, gave_up: GaveUp, route: &LiveRoute) -> Response<AnswerBody> {
        let reason = match gave_up {
            GaveUp::Full => "too many requests wait for an instance of this app".to_owned(),
            GaveUp::Expired => {
                format!("no instance of this app became ready within {} ms", route.options.hold_ms)
            }
        };
        page::unavailable(&reason, Some(self.account))
    }
}

/// Returns the list of addresses with the peer's own at its end.
fn forwarded_for(headers: &HeaderMap, peer: &str) -> Option<String> {
    let mut list = String::new();
    for value in headers.get_all("x-forwarded-for") {
        list.push_str(value.to_str().ok()?);
        list.push_str(", ");
    }
    list.push_str(peer);
    Some(list)
}

impl Worker {
    /// Returns whether a trusted proxy in front of us says that the client speaks HTTPS with it.
    fn is_forwarded_https(&self, watch: &Watch, parts: &Parts) -> bool {
        self.shared.trusts(watch.peer)
            && parts.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https")
    }

    /// Writes an id that no other request of this process has.
    fn request_id<'a>(&self, out: &'a mut [u8; 32]) -> &'a str {
        let number = self.requests.fetch_add(1, Relaxed);
        // A bijection, so that ids differ, scattered, so that they don't tell how many there were.
        let mut low = number ^ self.seed;
        low = (low ^ (low >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        low = (low ^ (low >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low ^= low >> 31;
        let bytes = (u128::from(self.seed.rotate_left(17)) << 64 | u128::from(low)).to_be_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            out[at * 2] = b"0123456789abcdef"[usize::from(byte >> 4)];
            out[at * 2 + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        std::str::from_utf8(out).expect("hexadecimal digits are text")
    }
}
