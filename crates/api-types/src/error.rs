//! Errors on the wire: RFC 9457 problem+json with a code that is a contract.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, by what a client can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// A bug on the server.
    Internal,
    /// There is no such thing, or not for you.
    NotFound,
    /// No valid login came with the request.
    Unauthenticated,
    /// The login is valid but may not do this.
    Forbidden,
    /// The server hasn't been claimed yet.
    Unclaimed,
    /// The state doesn't allow it now.
    Conflict,
    /// The name is in use.
    NameTaken,
    /// The body, a field or a parameter is wrong.
    InvalidRequest,
    /// `panda.toml` is wrong.
    InvalidManifest,
    /// The uploaded source can't be used.
    InvalidSource,
    /// This runtime can't do it.
    Unsupported,
    /// Something that is needed isn't reachable; try again.
    Unavailable,
    /// It took too long; try again.
    Timeout,
    /// A limit of the team is reached.
    QuotaExceeded,
    /// Too many requests.
    RateLimited,
    /// The body is too large.
    TooLarge,
    /// Env or secrets can't be decrypted with the server's key.
    UndecryptableSecrets,
    /// A device login is waiting for its approval.
    AuthorizationPending,
    /// A device login was polled too often.
    SlowDown,
    /// The one-time thing is used or too old.
    Expired,
}

impl ErrorCode {
    /// Every code, for the docs and the tests.
    pub const ALL: &[Self] = &[
        Self::Internal,
        Self::NotFound,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Unclaimed,
        Self::Conflict,
        Self::NameTaken,
        Self::InvalidRequest,
        Self::InvalidManifest,
        Self::InvalidSource,
        Self::Unsupported,
        Self::Unavailable,
        Self::Timeout,
        Self::QuotaExceeded,
        Self::RateLimited,
        Self::TooLarge,
        Self::UndecryptableSecrets,
        Self::AuthorizationPending,
        Self::SlowDown,
        Self::Expired,
    ];

    /// Returns the code as in the body.
    pub fn word(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::NotFound => "not-found",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Unclaimed => "unclaimed",
            Self::Conflict => "conflict",
            Self::NameTaken => "name-taken",
            Self::InvalidRequest => "invalid-request",
            Self::InvalidManifest => "invalid-manifest",
            Self::InvalidSource => "invalid-source",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::QuotaExceeded => "quota-exceeded",
            Self::RateLimited => "rate-limited",
            Self::TooLarge => "too-large",
            Self::UndecryptableSecrets => "undecryptable-secrets",
            Self::AuthorizationPending => "authorization-pending",
            Self::SlowDown => "slow-down",
            Self::Expired => "expired",
        }
    }

    /// Returns the short title, the same for each error of the code.
    pub fn title(self) -> &'static str {
        match self {
            Self::Internal => "something went wrong on the server",
            Self::NotFound => "not found",
            Self::Unauthenticated => "not signed in",
            Self::Forbidden => "not allowed",
            Self::Unclaimed => "the server has no owner yet",
            Self::Conflict => "not possible in the present state",
            Self::NameTaken => "the name is taken",
            Self::InvalidRequest => "the request is wrong",
            Self::InvalidManifest => "panda.toml is wrong",
            Self::InvalidSource => "the source can't be used",
            Self::Unsupported => "not supported here",
            Self::Unavailable => "not available at the moment",
            Self::Timeout => "it took too long",
            Self::QuotaExceeded => "a limit is reached",
            Self::RateLimited => "too many requests",
            Self::TooLarge => "too large",
            Self::UndecryptableSecrets => "secrets can't be decrypted",
            Self::AuthorizationPending => "waiting for approval",
            Self::SlowDown => "polled too often",
            Self::Expired => "used or expired",
        }
    }

    /// Returns the HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Internal => 500,
            Self::NotFound => 404,
            Self::Unauthenticated => 401,
            Self::Forbidden | Self::QuotaExceeded => 403,
            Self::Unclaimed | Self::Conflict | Self::NameTaken => 409,
            Self::InvalidRequest | Self::InvalidManifest | Self::InvalidSource | Self::Unsupported => 422,
            Self::Unavailable | Self::UndecryptableSecrets => 503,
            Self::Timeout => 504,
            Self::RateLimited | Self::SlowDown => 429,
            Self::TooLarge => 413,
            Self::AuthorizationPending => 400,
            Self::Expired => 410,
        }
    }

    /// Returns the exit code of the CLI.
    pub fn exit(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::NotFound => 3,
            Self::Unauthenticated
            | Self::Forbidden
            | Self::Unclaimed
            | Self::Expired
            | Self::AuthorizationPending => 4,
            Self::Conflict | Self::NameTaken => 5,
            Self::InvalidRequest
            | Self::InvalidManifest
            | Self::InvalidSource
            | Self::Unsupported
            | Self::TooLarge => 6,
            Self::Unavailable | Self::Timeout | Self::UndecryptableSecrets => 7,
            Self::QuotaExceeded | Self::RateLimited | Self::SlowDown => 8,
        }
    }
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Its path, such as `processes.web.port`.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The page about this code, relative to the server: `/docs/errors/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's title.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The request's id, for the operator's log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The contract.
    pub code: ErrorCode,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Wrong fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds to wait before the next try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

impl Problem {
    /// Makes a problem of this code.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/docs/errors/{}", code.word()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            instance: String::new(),
            code,
            hint: None,
            errors: Vec::new(),
            retry_after: None,
        }
    }
}
