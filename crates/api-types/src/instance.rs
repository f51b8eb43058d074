//! Instances, exec and one-off tasks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One running replica, as observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Its process.
    pub process: String,
    /// Its release.
    pub release: u32,
    /// `starting`, `ready`, `unready`, `draining`, `crashing`, `oom`, `stopped`.
    pub state: String,
    /// More about the state, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was restarted by itself.
    pub restarts: u32,
    /// When it last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Thousandths of a core, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Bytes, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Whether it runs as root.
    pub runs_as_root: bool,
}

/// Opens an exec, the first text message of the WebSocket. Then: binary messages from the client are input; binary messages
/// from the server start with 1 (out) or 2 (err); text messages are JSON: `{"resize":[columns,rows]}`, `{"eof":true}` from
/// the client, `{"exit":N}` or `{"problem":{…}}` from the server, the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecStart {
    /// argv.
    pub command: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// The process; `web` or the only one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The instance; any ready one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Columns and rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<(u16, u16)>,
}

/// Starts a one-off command in the release that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskRequest {
    /// argv.
    pub command: Vec<String>,
    /// Whether it gets a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Seconds until it is killed, at most a day; an hour unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u32>,
}

/// A one-off command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// argv.
    pub command: Vec<String>,
    /// The release it runs in.
    pub release: u32,
    /// `running`, `ended`, `failed`.
    pub state: String,
    /// Once ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// More, for people: killed for its memory, time-out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who started it.
    pub by: String,
    /// When.
    pub created_at: String,
}
