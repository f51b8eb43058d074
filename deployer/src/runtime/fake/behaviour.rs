//! What an image does in the fake runtime.

use std::time::Duration;

/// How an image's containers behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// How long after its start an instance is ready; `None` for never.
    pub ready_after: Option<Duration>,
    /// How each run of it ends by itself, `None` for never.
    pub exit: Option<Exit>,
    /// What the probe says while it isn't ready.
    pub probe: String,
    /// Ports it listens on while it isn't ready, with whether only on localhost.
    pub listening: Vec<(u16, bool)>,
    /// Lines that each run prints at its start.
    pub prints: Vec<String>,
    /// Why it can't be pulled, `None` when it can.
    pub pull: Option<PullFailure>,
    /// Whether its own user is root.
    pub root: bool,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// How long after its start.
    pub after: Duration,
    /// With which code.
    pub code: i64,
    /// Whether for its memory.
    pub oom: bool,
}

/// Why an image can't be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullFailure {
    /// The registry doesn't have it.
    Absent,
    /// The registry doesn't answer.
    RegistryDown,
}

/// How the ingress takes new routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ingress {
    /// Takes them and says so.
    #[default]
    Well,
    /// Can't be reached.
    Away,
    /// Takes them, and its answer is lost.
    Mute,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            ready_after: Some(Duration::ZERO),
            exit: None,
            probe: "connection refused".to_owned(),
            listening: Vec::new(),
            prints: Vec::new(),
            pull: None,
            root: false,
        }
    }
}

impl Behaviour {
    /// Gets ready after `delay`.
    pub fn ready_after(delay: Duration) -> Self {
        Self { ready_after: Some(delay), ..Self::default() }
    }

    /// Never gets ready.
    pub fn never_ready() -> Self {
        Self { ready_after: None, ..Self::default() }
    }

    /// Never gets ready because it listens elsewhere.
    pub fn listens_on(port: u16, localhost: bool) -> Self {
        Self { listening: vec![(port, localhost)], ..Self::never_ready() }
    }

    /// Exits with `code` at once, again and again.
    pub fn exits(code: i64) -> Self {
        Self { exit: Some(Exit { after: Duration::ZERO, code, oom: false }), ..Self::never_ready() }
    }

    /// Is ready at once and dies `after` a while, again and again.
    pub fn dies_after(after: Duration, code: i64) -> Self {
        Self { exit: Some(Exit { after, code, oom: false }), ..Self::default() }
    }

    /// Is killed for its memory `after` a while, again and again.
    pub fn out_of_memory(after: Duration) -> Self {
        Self { exit: Some(Exit { after, code: 137, oom: true }), ..Self::default() }
    }

    /// Can't be pulled.
    pub fn not_pulled(why: PullFailure) -> Self {
        Self { pull: Some(why), ..Self::default() }
    }
}
