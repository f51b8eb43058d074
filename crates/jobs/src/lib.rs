//! (being written)
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use std::time::Duration;
use panda_domain::job::JobPayload;
use tokio_util::sync::CancellationToken;
pub enum JobEnd { Done, Retry { after: Duration, error: String }, Failed { error: String }, Canceled }
pub struct JobContext { t: CancellationToken }
impl JobContext { pub fn canceled(&self) -> &CancellationToken { &self.t } }
#[async_trait::async_trait]
pub trait JobHandler: Send + Sync { fn kind(&self) -> &'static str; async fn run(&self, context: &JobContext, payload: &JobPayload) -> JobEnd; }
#[derive(Debug)]
pub enum Outcome { Applied, Skipped, Failed { object: String, reason: String } }
impl Outcome { pub fn failed(o: &str, e: &dyn std::error::Error) -> Self { Self::Failed { object: o.into(), reason: e.to_string() } } }
#[async_trait::async_trait]
pub trait Reconciler: Send + Sync { fn name(&self) -> &'static str; async fn activate(&self) -> Outcome; }
