//! A session as a user sees it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BackendName, Exit, Health, Incarnation, SessionId, SessionSpec, Timestamp};

/// What the user wants of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// Run, and be brought back by the restart policy.
    Running,
    /// Not run; its exit and its log stay.
    Stopped,
    /// Be gone, workload and record.
    Removed,
}

/// The state of a session, in the words that users read.
///
/// ```text
///              create            start             exit
///   pending ------------> created -----> running ------------> stopped   (0, or it was asked to stop)
///                                         |  ^  \------------> failed    (any other end)
///                                 pause   v  |   \-----------> lost      (it ended, nobody can say how)
///                                        paused   \
///                                                  \ policy: another incarnation
///                                                   `--------> restarting --backoff--> pending
///
///   unknown: the backend cannot be asked now; `Session::last_state` says what was known before.
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Wanted, not made yet.
    Pending,
    /// Made, not started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Backing off before the next incarnation.
    Restarting,
    /// Ended with 0, or was asked to stop.
    Stopped,
    /// Ended in any other way.
    Failed,
    /// Ended, and nobody can say how.
    Lost,
    /// The backend cannot be asked now.
    Unknown,
}

impl SessionState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Restarting,
        Self::Stopped,
        Self::Failed,
        Self::Lost,
        Self::Unknown,
    ];

    /// Nothing runs and nothing will by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Lost)
    }

    /// Its workload has begun and not ended.
    pub fn runs(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A session, as `GET /v1/sessions/{id}` and `inspect --json` give it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its name; the same as in the spec.
    pub name: crate::SessionName,
    /// The backend it is on.
    pub backend: BackendName,
    /// What is wanted.
    pub desired: Desired,
    /// What is.
    pub state: SessionState,
    /// What was last known, while `state` is `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_state: Option<SessionState>,
    /// How well it runs.
    pub health: Health,
    /// It runs and may be given work: its startup and its readiness probe pass, where it has these.
    #[serde(default)]
    pub ready: bool,
    /// How the newest incarnation that ended did so.
    pub exit: Option<Exit>,
    /// How many times it was started; 0 if never.
    pub incarnation: Incarnation,
    /// How many of these starts were made by the restart policy.
    pub restarts: u64,
    /// When the session was asked for.
    pub created_at: Timestamp,
    /// When the newest incarnation began to run.
    pub started_at: Option<Timestamp>,
    /// When the newest incarnation ended.
    pub finished_at: Option<Timestamp>,
    /// Why the state is as it is, where a word is not enough: the last error, what is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was asked to be, with secrets redacted.
    pub spec: SessionSpec,
}

impl Session {
    /// Whether it runs, as far as is known: if its backend cannot be asked now, whether it did before.
    pub fn runs(&self) -> bool {
        self.last_state.unwrap_or(self.state).runs()
    }

    /// The incarnation that a restart ends, 0 if there is none to end: the next one has a larger number.
    pub fn outgoing(&self) -> Incarnation {
        if self.runs() { self.incarnation } else { 0 }
    }
}
