//! The clean-up of orphans as an operator asks for it: `POST /v1/backends/{name}/gc`. What an orphan is, and what is done
//! about it, is in `orphans.rs`.

use std::sync::Arc;

use seawall_model::{BackendName, Incarnation, SessionId, State, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ControlError;
use crate::control::Control;
use crate::listing::listing;

/// What is done about the orphans of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gc {
    /// Nothing; they are shown.
    DryRun,
    /// What a sweep does: they are removed, unless they are more than the share of what is known.
    Share,
    /// They are removed, however many they are.
    Confirmed,
}

/// What a clean-up found, and did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cleanup {
    /// Where.
    pub backend: BackendName,
    /// Workloads of the listing that belong to a session.
    pub known: usize,
    /// No more orphans than this are removed without being confirmed.
    pub most: usize,
    /// Each orphan, by session and incarnation.
    pub orphans: Vec<Orphan>,
    /// Orphans that are too many for one clean-up: they come up when these are gone.
    pub unlisted: usize,
}

impl Cleanup {
    /// How many orphans there were.
    pub fn count(&self) -> usize {
        self.orphans.len() + self.unlisted
    }
}

/// A workload that no session owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Orphan {
    /// Whose it says it is.
    pub session: SessionId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// How it is.
    pub state: State,
    /// When it was first seen without a session.
    pub since: Timestamp,
    /// What became of it.
    pub fate: Fate,
    /// Why it could not be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of an orphan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Left alone: two complete listings must have it, and the grace must be over.
    Young,
    /// Left alone until it is confirmed: there are too many.
    Held,
    /// It would be removed.
    Removable,
    /// It was removed.
    Removed,
    /// Left alone: when it was to be removed, it was not certain any more that no session owns it.
    Kept,
    /// The backend did not remove it.
    Failed,
}

impl Control {
    /// Asks a backend for everything it has, and removes what no session owns.
    ///
    /// # Errors
    /// `NoSuchBackend`, `ShuttingDown`; `Conflict` when the backend was replaced meanwhile; `Backend` when there was no complete listing: then nothing was removed.
    pub async fn gc(&self, backend: &BackendName, gc: Gc) -> Result<Cleanup, ControlError> {
        let backend = self.core.backend(backend)?;
        self.request(|core| async move {
            let work = async {
                let mut orphans = Arc::clone(&backend.orphans).lock_owned().await;
                let judged = orphans.judge(&core, &backend, &listing(&backend).await?, gc).await;
                Ok(if gc == Gc::DryRun { judged.cleanup } else { orphans.remove(&core, &backend, judged).await })
            };
            // Cancel-safe: what a removal that was cut off did is seen by the next listing.
            tokio::select! {
                done = work => done,
                () = backend.stopping() => Err(backend.replaced(&core)),
            }
        })
        .await
    }
}
