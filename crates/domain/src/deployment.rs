//! A Deployment: one attempt to make a release live. It always ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Where a deployment stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DeploymentState {
    /// Accepted, waiting for its turn.
    Queued,
    /// Its image is being built.
    Building,
    /// Its release exists; the release command runs if there is one.
    Releasing,
    /// New instances start, become ready and take the traffic.
    Rolling,
    /// Every new instance is ready and the old ones are out of the routes.
    Live,
    /// Was live and has been replaced.
    Superseded,
    /// Ended: no image.
    BuildFailed {
        /// Why.
        failure: Failure,
    },
    /// Ended: the release command failed.
    ReleaseFailed {
        /// Why.
        failure: Failure,
    },
    /// Ended: the new instances never became healthy; the last good release serves.
    Unhealthy {
        /// Why.
        failure: Failure,
    },
    /// Ended: a phase's deadline passed.
    TimedOut {
        /// Which, and why.
        failure: Failure,
    },
    /// Ended: by a person, or overtaken by a newer deploy.
    Canceled {
        /// By whom or what.
        reason: CancelReason,
    },
}

/// What ended a deployment before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// Somebody asked for it.
    Requested,
    /// A newer deployment of the same app and environment was accepted.
    Overtaken,
    /// The app is being destroyed.
    AppDestroyed,
}

/// A change of state that the design doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a deployment can't go from `{from}` to `{to}`")]
pub struct InvalidTransition {
    from: &'static str,
    to: &'static str,
}

/// How long each phase may take. Counted from the phase's first start, not from a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseDeadlines {
    /// In the queue.
    pub queue: Duration,
    /// In the build.
    pub build: Duration,
    /// In the release command.
    pub release: Duration,
    /// In the rollout.
    pub rollout: Duration,
}

impl Default for PhaseDeadlines {
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        Self { queue: minutes(30), build: minutes(30), release: minutes(10), rollout: minutes(5) }
    }
}

impl DeploymentState {
    /// Returns the state's word, as in the API and the database.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Releasing => "releasing",
            Self::Rolling => "rolling",
            Self::Live => "live",
            Self::Superseded => "superseded",
            Self::BuildFailed { .. } => "build_failed",
            Self::ReleaseFailed { .. } => "release_failed",
            Self::Unhealthy { .. } => "unhealthy",
            Self::TimedOut { .. } => "timed_out",
            Self::Canceled { .. } => "canceled",
        }
    }

    /// Tells whether work on it is still going on.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Queued | Self::Building | Self::Releasing | Self::Rolling)
    }

    /// Tells whether it ended without going live.
    pub fn failed(&self) -> bool {
        !self.is_active() && !matches!(self, Self::Live | Self::Superseded)
    }

    /// Returns why it failed, where there is a reason to tell.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::BuildFailed { failure }
            | Self::ReleaseFailed { failure }
            | Self::Unhealthy { failure }
            | Self::TimedOut { failure } => Some(failure),
            _ => None,
        }
    }

    /// Returns how long the phase may take, `None` when it has no end to wait for.
    pub fn deadline(&self, deadlines: &PhaseDeadlines) -> Option<Duration> {
        match self {
            Self::Queued => Some(deadlines.queue),
            Self::Building => Some(deadlines.build),
            Self::Releasing => Some(deadlines.release),
            Self::Rolling => Some(deadlines.rollout),
            _ => None,
        }
    }

    /// Goes on to `next`, or says that there is no such way.
    pub fn advance(&self, next: Self) -> Result<Self, InvalidTransition> {
        use DeploymentState as S;
        let legal = match (self, &next) {
            (S::Queued, S::Building | S::Releasing | S::BuildFailed { .. })
            | (S::Building, S::Releasing | S::BuildFailed { .. })
            | (S::Releasing, S::Rolling | S::ReleaseFailed { .. } | S::Unhealthy { .. })
            | (S::Rolling, S::Live | S::Unhealthy { .. })
            | (S::Live, S::Superseded) => true,
            (active, S::TimedOut { .. } | S::Canceled { .. }) => active.is_active(),
            _ => false,
        };
        if legal { Ok(next) } else { Err(InvalidTransition { from: self.word(), to: next.word() }) }
    }
}

/// What set a deployment off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// `panda deploy` or the API.
    Deploy,
    /// A change of env or secrets.
    Env,
    /// `panda rollback`.
    Rollback,
    /// `panda restart`.
    Restart,
    /// The platform, after a live release failed.
    AutoRollback,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_deployment_stays_ended() {
        let ended = DeploymentState::Canceled { reason: CancelReason::Requested };
        assert!(ended.advance(DeploymentState::Live).is_err());
        assert!(
            DeploymentState::Live
                .advance(DeploymentState::Canceled { reason: CancelReason::Overtaken })
                .is_err()
        );
        assert!(DeploymentState::Rolling.advance(DeploymentState::Live).is_ok());
        assert!(DeploymentState::Building.advance(DeploymentState::Live).is_err());
    }
}
