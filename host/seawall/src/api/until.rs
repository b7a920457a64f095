//! What may be waited for.

use std::str::FromStr;

use seawall_model::{Health, Session, SessionState};
use serde::Deserialize;
use utoipa::ToSchema;

/// What may be waited for: the words of `?for=` and of `wait --for`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Until {
    /// It runs.
    Running,
    /// It runs, is over, or there is a reason why it is neither: a try failed.
    Settled,
    /// It is over, and nothing will start it by itself.
    #[default]
    Ended,
    /// It is gone.
    Removed,
    /// It runs and may be given work.
    Ready,
    /// It runs, and passes its check or has none.
    Healthy,
    /// It runs and fails its check.
    Unhealthy,
    /// It is made and was not started.
    Created,
    /// It is frozen.
    Paused,
    /// It ended, and its next incarnation follows.
    Restarting,
    /// It ended with 0, or was asked to.
    Stopped,
    /// It ended in another way.
    Failed,
    /// It ended, and nobody can say how.
    Lost,
}

impl Until {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = [
        Self::Running,
        Self::Settled,
        Self::Ended,
        Self::Removed,
        Self::Ready,
        Self::Healthy,
        Self::Unhealthy,
        Self::Created,
        Self::Paused,
        Self::Restarting,
        Self::Stopped,
        Self::Failed,
        Self::Lost,
    ];

    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Settled => "settled",
            Self::Ended => "ended",
            Self::Removed => "removed",
            Self::Ready => "ready",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Created => "created",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }

    /// Whether there is nothing more to wait for: it is so, or it is over and cannot become so by itself. `Removed` never
    /// is while there is a session to ask.
    pub(crate) fn holds(self, session: &Session) -> bool {
        self.is_so(session) || (session.state.is_final() && self != Self::Removed)
    }

    /// Whether it is so.
    pub(crate) fn is_so(self, session: &Session) -> bool {
        let state = session.state;
        let runs = state == SessionState::Running;
        match self {
            Self::Running => matches!(state, SessionState::Running | SessionState::Paused),
            Self::Settled => match state {
                SessionState::Pending | SessionState::Created => session.reason.is_some(),
                SessionState::Running
                | SessionState::Paused
                | SessionState::Restarting
                | SessionState::Stopped
                | SessionState::Failed
                | SessionState::Lost
                | SessionState::Unknown => true,
            },
            Self::Ended => state.is_final(),
            Self::Removed => false,
            Self::Ready => runs && session.ready,
            Self::Healthy => runs && session.health == Health::Healthy,
            Self::Unhealthy => runs && session.health == Health::Unhealthy,
            Self::Created => state == SessionState::Created,
            Self::Paused => state == SessionState::Paused,
            Self::Restarting => state == SessionState::Restarting,
            Self::Stopped => state == SessionState::Stopped,
            Self::Failed => state == SessionState::Failed,
            Self::Lost => state == SessionState::Lost,
        }
    }
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|until| until.as_str() == text).ok_or_else(|| {
            let words = Self::ALL.map(Self::as_str).join(", ");
            format!("{text:?} cannot be waited for: write one of {words}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_in_the_address_and_on_the_line() {
        for until in Until::ALL {
            assert_eq!(until.as_str().parse(), Ok(until));
            assert_eq!(serde_json::from_value::<Until>(until.as_str().into()).unwrap(), until);
        }
        assert!("ever".parse::<Until>().unwrap_err().contains("healthy"));
    }
}
