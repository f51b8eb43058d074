//! People, logins and tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Takes the ownership of a new server.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// The token that the server printed on its console at the first start.
    pub claim_token: String,
    /// The owner's address.
    pub email: String,
    /// At least 12 characters.
    pub password: String,
    /// Name of the first team; `default` unless given.
    #[serde(default)]
    pub team: Option<String>,
}

/// Signs in by password.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The address.
    pub email: String,
    /// The password.
    pub password: String,
}

/// Changes one's own password; ends all other sessions.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The present one.
    pub current: String,
    /// At least 12 characters.
    pub new: String,
}

/// A signed-in browser or a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Since when.
    pub created_at: String,
    /// Last use.
    pub last_seen_at: String,
    /// Until when.
    pub expires_at: String,
    /// The browser's own words.
    pub user_agent: String,
    /// Whether this request came by it.
    pub current: bool,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The user's id.
    pub user: String,
    /// The address.
    pub email: String,
    /// The team's id.
    pub team: String,
    /// The team's name.
    pub team_name: String,
    /// The role in it.
    pub role: String,
    /// `session` or `token`.
    pub via: String,
    /// The token's scope, as `panda tokens create --scope` takes it; `full` for a session.
    pub scope: String,
}

/// A member of the team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The user's id.
    pub user: String,
    /// The address.
    pub email: String,
    /// The role.
    pub role: String,
}

/// Starts a device login (RFC 8628).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceCodeRequest {
    /// Shown on the approval page, such as the machine's name.
    pub client_name: String,
}

/// A device login that waits for its approval.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceCode {
    /// Secret: the client polls with it.
    pub device_code: String,
    /// A person types or compares it: `BCDF-GHJK`.
    pub user_code: String,
    /// Where it is approved.
    pub verification_uri: String,
    /// The same with the code filled in.
    pub verification_uri_complete: String,
    /// Seconds until it is over.
    pub expires_in: u32,
    /// Seconds between polls.
    pub interval: u32,
}

/// Polls a device login; answers a [`TokenCreated`], or `authorization-pending`, `slow-down`, `expired`, `forbidden`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceTokenRequest {
    /// From [`DeviceCode`].
    pub device_code: String,
}

/// Approves or denies a device login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceApproval {
    /// The code on the device's screen.
    pub user_code: String,
    /// Yes or no.
    pub approve: bool,
}

/// Makes an API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// For lists.
    pub name: String,
    /// `full`, `read` or `deploy:APP`.
    pub scope: String,
    /// Days until it ends, 1 to 365; 90 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_days: Option<u32>,
}

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `full`, `read` or `deploy:APP`.
    pub scope: String,
    /// Whose.
    pub owner: String,
    /// When it was made.
    pub created_at: String,
    /// When it ends.
    pub expires_at: String,
    /// Its last use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
}

/// A new token; the only time that the secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// What lists show later.
    pub token: Token,
    /// `panda_…`; send it as `Authorization: Bearer`.
    pub secret: String,
}
