//! What may be waited for.

use seawall_model::{Session, SessionState};
use serde::Deserialize;

/// What may be waited for: the words of `?for=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Until {
    /// It runs, or is over.
    Running,
    /// It runs, is over, or there is a reason why it is neither: a try failed.
    Settled,
    /// It is over, and nothing will start it by itself.
    #[default]
    Ended,
    /// It is gone.
    Removed,
}

impl Until {
    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Settled => "settled",
            Self::Ended => "ended",
            Self::Removed => "removed",
        }
    }

    /// Whether it is so. `Removed` never is while there is a session to ask.
    pub(crate) fn holds(self, session: &Session) -> bool {
        let state = session.state;
        match self {
            Self::Running => state.is_final() || matches!(state, SessionState::Running | SessionState::Paused),
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
        }
    }
}
