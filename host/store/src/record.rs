//! What is kept.

use seawall_model::{
    BackendName, Desired, Exit, Health, Incarnation, SessionId, SessionName, SessionSpec, SessionState, Signal,
    Timestamp, TraceId,
};
use serde::{Deserialize, Serialize};

use crate::{Once, Token};

/// A session as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Its name; unique among the sessions that exist.
    pub name: SessionName,
    /// What it should be; secrets included.
    pub spec: SessionSpec,
    /// What is wanted.
    pub desired: Desired,
    /// Starts so far; written before the start is tried.
    pub incarnation: Incarnation,
    /// Starts made by the restart policy.
    pub restarts: u64,
    /// Failures in a row, for the backoff and the budget of `on-failure:N`.
    pub failures: u32,
    /// The state last known, never `Unknown`.
    pub state: SessionState,
    /// The health last known.
    pub health: Health,
    /// The newest incarnation has passed its startup probe.
    pub started: bool,
    /// The newest incarnation may be given work.
    pub ready: bool,
    /// How the newest incarnation that ended did so.
    pub exit: Option<Exit>,
    /// What the backend gave for the newest incarnation.
    pub handle: Option<Vec<u8>>,
    /// When the session was asked for.
    pub created_at: Timestamp,
    /// When the newest incarnation began to run.
    pub started_at: Option<Timestamp>,
    /// When the newest incarnation ended.
    pub finished_at: Option<Timestamp>,
    /// When the restart policy's next start is due, while `Restarting`.
    pub restart_at: Option<Timestamp>,
    /// When the restart policy decided on its last starts, oldest first, as many as its budget has; none without one.
    pub restarted: Vec<Timestamp>,
    /// Why it is as it is, where a word is not enough.
    pub reason: Option<String>,
}

impl SessionRecord {
    /// The backend it is on.
    pub fn backend(&self) -> &BackendName {
        &self.spec.backend
    }
}

/// What the host is about to ask a backend for. Stored before it is asked and settled after the answer, so that after
/// a crash at any instant it is known what may have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// For which session; at most one intent is open for each.
    pub session: SessionId,
    /// For which incarnation.
    pub incarnation: Incarnation,
    /// What.
    pub act: Act,
    /// Since when.
    pub since: Timestamp,
}

/// An act on a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Make the workload.
    Create,
    /// Start it.
    Start,
    /// End it: `signal` was or will be sent, and KILL at `kill_at` if it still runs.
    Stop {
        /// What it begins with.
        signal: Signal,
        /// The end of the grace. Absent: only `signal` was asked for, and it may take as long as it likes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kill_at: Option<Timestamp>,
    },
    /// End it in the same way; the next incarnation follows, whatever the restart policy says.
    Restart {
        /// What it begins with.
        signal: Signal,
        /// The end of the grace.
        kill_at: Timestamp,
    },
    /// Send it a signal that does not ask it to end; nothing follows from that.
    Signal {
        /// Which.
        signal: Signal,
    },
    /// Remove it.
    Remove,
}

/// Something that happened, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Event {
    /// Grows by one with each event; never used twice.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What happened, as a stable word: `session.started`, `backend.unhealthy`.
    pub kind: String,
    /// To which session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Its name at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SessionName>,
    /// On which backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendName>,
    /// Of which incarnation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// In words.
    pub message: String,
    /// Within which trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// Whose request it was that caused it at once: `uid 1000`, `token ci`. Absent: nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// One write. The writes of one call of [`Store::write`](crate::Store::write) happen together or not at all.
#[derive(Clone, Debug)]
pub enum Write {
    /// A session that is not there yet. Refused with [`Error::NameTaken`](crate::Error::NameTaken) or `IdTaken`.
    InsertSession(Box<SessionRecord>),
    /// A session that is there, as it is now.
    UpdateSession(Box<SessionRecord>),
    /// Forget a session and its intent.
    DeleteSession(SessionId),
    /// About to act. Replaces an open intent of the same session.
    PutIntent(Intent),
    /// The act has come to its end.
    SettleIntent(SessionId),
    /// Keep for which key a session was made. Refused with [`Error::KeyTaken`](crate::Error::KeyTaken).
    PutOnce(Once),
    /// Forget such a key.
    ForgetOnce(String),
    /// A new token. Refused with [`Error::TokenTaken`](crate::Error::TokenTaken).
    PutToken(Token),
    /// A token was used.
    UseToken {
        /// Its id.
        id: String,
        /// When.
        at: Timestamp,
    },
    /// A token is no longer good.
    DeleteToken(String),
    /// Add to the journal. The store gives the id, in the order of commits, and whatever `id` says is overwritten.
    Event(Event),
}
