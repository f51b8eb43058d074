//! Teams, roles and what each may do.

use serde::{Deserialize, Serialize};

/// A member's role. Each may do what the ones below may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads everything but values.
    Viewer,
    /// Deploys, scales, reads plain env.
    Developer,
    /// Domains, tokens, destroying apps.
    Admin,
    /// Members and the team itself.
    Owner,
}

impl Role {
    /// Returns the role's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

/// What a request wants to do; each needs a role, and a scope if it comes by token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// See apps, releases, logs.
    Read,
    /// Deploy, roll back, restart, scale, run.
    Deploy,
    /// Read values of plain variables.
    RevealEnv,
    /// Change env, secrets.
    WriteEnv,
    /// Domains, destroying apps.
    Manage,
    /// Tokens and members.
    Administer,
}

impl Permission {
    /// Returns the lowest role that has it.
    pub fn needs(self) -> Role {
        match self {
            Self::Read => Role::Viewer,
            Self::Deploy | Self::RevealEnv | Self::WriteEnv => Role::Developer,
            Self::Manage => Role::Admin,
            Self::Administer => Role::Owner,
        }
    }
}

/// What an API token may do, beyond its owner's role never.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case")]
pub enum Scope {
    /// All that its owner may.
    Full,
    /// Reading only.
    Read,
    /// Reading, and deploying this app.
    Deploy {
        /// The app's name.
        app: crate::names::AppName,
    },
}
