//! Why the control plane refuses.

use std::time::Duration;

use seawall_model::{BackendName, InvalidSpec, SessionId, SessionName};

use crate::BackendHealth;

/// Why a request was not carried out. Nothing was changed, unless the variant says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    /// No session has this id or name.
    #[error("there is no session {0:?}: `seawall ps -a` lists them")]
    NoSuchSession(String),
    /// What an earlier start wrote is not kept.
    #[error("{0}")]
    NoSuchLog(String),
    /// No backend of this name is configured.
    #[error("there is no backend {0}: `seawall backend ls` lists those that are configured")]
    NoSuchBackend(BackendName),
    /// Several ids begin so.
    #[error("{prefix:?} is the beginning of {matches} session ids: give more of it")]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// How many ids begin with it.
        matches: usize,
    },
    /// Another session has this name.
    #[error("the name {name} is taken by session {by}: remove that session or choose another name")]
    NameTaken {
        /// The name.
        name: SessionName,
        /// Who has it.
        by: SessionId,
    },
    /// The spec cannot be carried out.
    #[error(transparent)]
    Invalid(#[from] InvalidSpec),
    /// It is not as the caller expects any more.
    #[error("session {0} is not as you saw it any more: look at it again, and then decide")]
    Changed(SessionId),
    /// Something else was asked for with the same key.
    #[error("the key {0:?} was used for another request: take another key for this one")]
    KeyReused(String),
    /// The session is in no state for that.
    #[error("{0}")]
    Conflict(String),
    /// No new session is placed on a backend that does not work (B9).
    #[error(
        "the backend {backend} is {health}{}: `seawall backend inspect {backend}` says more",
        error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
    )]
    BackendUnhealthy {
        /// Which.
        backend: BackendName,
        /// How it is.
        health: BackendHealth,
        /// What its last check said.
        error: Option<String>,
    },
    /// The store did not take the write. What was asked for may be found after a restart only if the error says so.
    #[error("the change could not be stored")]
    Store(#[source] seawall_store::Error),
    /// The backend was asked and did not do it.
    #[error(transparent)]
    Backend(#[from] seawall_backend::Error),
    /// The daemon is ending.
    #[error("the daemon is shutting down")]
    ShuttingDown,
}

/// Why the control plane did not start. No task is running and no backend was asked for anything.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be as it is.
    #[error("the configuration of the control plane is not valid")]
    Config(#[source] InvalidSpec),
    /// What is stored cannot be read.
    #[error("the stored sessions could not be loaded")]
    Store(#[source] seawall_store::Error),
}

/// How a shutdown ended other than well. Every task is over all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShutdownError {
    /// With [`Shutdown::Stop`](crate::Shutdown::Stop): these did not end in time and are left running.
    #[error("{running} sessions were still not stopped after {}", humantime::format_duration(*.after))]
    StillRunning {
        /// How many.
        running: usize,
        /// How long it was waited.
        after: Duration,
    },
    /// Acts were cut off; their intents stay open and are settled at the next start.
    #[error("calls to backends were cut off after {}; they are settled at the next start", humantime::format_duration(*.after))]
    CutOff {
        /// How long it was waited.
        after: Duration,
    },
    /// What is wanted could not be stored.
    #[error("the sessions could not be told to stop")]
    Store(String),
}
