//! What an operator says is gone: `POST /v1/backends/{name}/confirm-lost`. A backend that leaves many of its sessions out of
//! its answers at once is not believed (E19); whoever has looked for himself can say that it is right.

use std::sync::Arc;

use seawall_model::{BackendName, SessionId};
use serde::{Deserialize, Serialize};

use crate::ControlError;
use crate::control::Control;
use crate::look::LookKind;
use crate::sweep::Sweep;

/// Sessions whose workload is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Lost {
    /// Where.
    pub backend: BackendName,
    /// Each of them: left out of an answer, and of a complete listing that was begun since.
    pub sessions: Vec<SessionId>,
    /// They are `lost` now, and go on as their restart policy says. Otherwise nothing was changed.
    pub confirmed: bool,
}

impl Control {
    /// Asks a backend for everything it has, and takes as gone what is missing in it, however much that is. Only sessions
    /// that a sweep has missed before are meant. With `dry_run` they are shown, and nothing is changed.
    ///
    /// # Errors
    /// `NoSuchBackend`, `ShuttingDown`; `Conflict` when the backend was replaced meanwhile; `Store`; `Backend` when there
    /// was no complete listing: then nothing was changed.
    pub async fn confirm_lost(&self, backend: &BackendName, dry_run: bool) -> Result<Lost, ControlError> {
        let backend = self.core.backend(backend)?;
        self.request(|core| async move {
            let sweep = Sweep::once(Arc::clone(&core), Arc::clone(&backend), LookKind::List);
            // Cancel-safe: what is stored is shown by a task of its own.
            tokio::select! {
                lost = sweep.confirm_lost(dry_run) => {
                    Ok(Lost { backend: backend.name.clone(), sessions: lost?, confirmed: !dry_run })
                }
                () = backend.stopping() => Err(backend.replaced(&core)),
            }
        })
        .await
    }
}
