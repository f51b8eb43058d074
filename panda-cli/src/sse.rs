//! Server-sent events that survive a lost connection: they go on after the last one that was seen.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use panda_api_types::ErrorCode;
use reqwest::Method;
use sse_stream::{Sse, SseStream};

use crate::api::{Api, Ask};
use crate::error::{CliError, Result};

/// Without a sign of life for this long, a connection counts as lost; servers send one every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Without a connection for this long, the stream is given up.
const PATIENCE: Duration = Duration::from_mins(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A stream of events.
pub(crate) struct Events<'a> {
    api: &'a Api,
    ask: Ask,
    last_id: Option<String>,
    stream: Option<BoxStream<'static, Result<Sse, String>>>,
    pause: Duration,
    lost_at: Option<Instant>,
    told: bool,
    endless: bool,
    on_loss: Box<dyn Fn(&str) + Send + 'a>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its kind; `message` unless said.
    pub(crate) kind: String,
    /// Its data.
    pub(crate) data: String,
}

impl<'a> Events<'a> {
    /// Follows; a stream that just stops is taken up again. `on_loss` hears why a connection was lost.
    pub(crate) fn follow(api: &'a Api, ask: Ask, on_loss: impl Fn(&str) + Send + 'a) -> Self {
        Self {
            api,
            ask,
            last_id: None,
            stream: None,
            pause: FIRST_PAUSE,
            lost_at: None,
            told: false,
            endless: true,
            on_loss: Box::new(on_loss),
        }
    }

    /// Reads what there is; a stream that stops is over.
    pub(crate) fn once(api: &'a Api, ask: Ask) -> Self {
        Self { endless: false, ..Self::follow(api, ask, |_| {}) }
    }

    /// Returns the next event; `None` at the end of a stream that isn't followed.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if self.stream.is_none() {
                self.connect().await?;
            }
            let Some(stream) = &mut self.stream else { continue };
            let lost = match tokio::time::timeout(SILENCE, stream.next()).await {
                Ok(Some(Ok(sse))) => match self.take(sse) {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                },
                Ok(None) if !self.endless => return Ok(None),
                Ok(Some(Err(why))) if !self.endless => {
                    return Err(CliError::new(
                        ErrorCode::Unavailable,
                        format!("the stream broke off: {why}"),
                    ));
                }
                Ok(Some(Err(why))) => why,
                Ok(None) => "the server ended the stream".to_owned(),
                Err(_) => "the server fell silent".to_owned(),
            };
            self.stream = None;
            self.lost(&lost).await?;
        }
    }

    fn take(&mut self, sse: Sse) -> Option<Event> {
        self.pause = FIRST_PAUSE;
        self.lost_at = None;
        self.told = false;
        if sse.id.is_some() {
            self.last_id = sse.id;
        }
        let data = sse.data?;
        Some(Event { kind: sse.event.unwrap_or_else(|| "message".to_owned()), data })
    }

    /// Connects. Until patience ends, a server that can't be reached or is too busy is asked again.
    async fn connect(&mut self) -> Result<()> {
        loop {
            let mut request = self.api.request(Method::GET, &self.ask).header("accept", "text/event-stream");
            if let Some(id) = &self.last_id {
                request = request.header("last-event-id", id);
            }
            match tokio::time::timeout(SILENCE, self.api.send(request)).await {
                Ok(Ok(response)) => {
                    let stream = SseStream::from_bytes_stream(response.bytes_stream());
                    self.stream = Some(stream.map(|event| event.map_err(|error| innermost(&error))).boxed());
                    return Ok(());
                }
                Ok(Err(error)) if !(self.endless && passes(&error)) => return Err(error),
                Ok(Err(error)) => {
                    let CliError::Problem { problem, .. } = &error else { return Err(error) };
                    let why = problem.detail.clone();
                    self.lost(&why).await?;
                }
                Err(_) => self.lost("the server doesn't answer").await?,
            }
        }
    }

    /// Notes a loss and waits before the next try.
    async fn lost(&mut self, why: &str) -> Result<()> {
        let lost_at = *self.lost_at.get_or_insert_with(Instant::now);
        if lost_at.elapsed() > PATIENCE {
            return Err(CliError::new(
                ErrorCode::Unavailable,
                format!("lost the server for 5 minutes: {why}"),
            )
            .hint("what was started goes on; `panda status --wait` follows it"));
        }
        // A short one isn't worth a word, and a long one is worth one.
        if self.pause > FIRST_PAUSE && !self.told {
            self.told = true;
            (self.on_loss)(why);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Tells whether an error may pass by itself.
fn passes(error: &CliError) -> bool {
    use ErrorCode::{Internal, RateLimited, SlowDown, Timeout, Unavailable};
    matches!(error.code(), Some(Unavailable | Timeout | RateLimited | SlowDown | Internal))
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
