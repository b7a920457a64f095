//! Break-glass: a session is removed without its plugin, which is broken, in quarantine, or not there at all.
//!
//! The host removes every workload that bears the session's stamp by its own hand, through the capabilities that the
//! backend was granted: the session's worker does it, after it has let go of whatever call to the plugin it was at. What
//! such a call did may land later still, and is an orphan then.
//!
//! Where the host cannot reach the workload, or nobody knows where it would be, only the record can be removed. That
//! leaves something behind, so it has to be said in so many words: `forget`.

use std::sync::Arc;

use seawall_backend::ExecutionBackend as _;
use seawall_model::{Desired, SessionId};

use crate::backend::call;
use crate::change::Change;
use crate::control::Control;
use crate::core::Core;
use crate::draft::{Draft, Marks};
use crate::state::Entry;
use crate::worker::kick;
use crate::{ControlError, caller};

impl Control {
    /// Wants a session to be gone, by the host's own hand. [`Control::wait`] then ends with `NoSuchSession`. With `forget`
    /// the host tries once, and the record is gone when this returns, whatever is left.
    ///
    /// # Errors
    /// `NoSuchSession`, `Store`, `ShuttingDown`; without `forget` `Conflict` where the host cannot reach what the backend
    /// makes: then nothing was changed.
    pub async fn break_glass(&self, id: &SessionId, forget: bool) -> Result<(), ControlError> {
        let entry = self.entry(id)?;
        self.request(|core| async move {
            if forget {
                return core.forget(&entry).await;
            }
            let backend = &entry.backend;
            let left = match core.backends.get(backend) {
                Some(there) if there.driver.can_expunge() => {
                    core.change(&entry, |draft, _| broken(draft)).await?;
                    kick(&core, &entry);
                    return Ok(());
                }
                Some(_) => format!(
                    "the backend {backend} was granted no capability by which the host could remove the workload of \
                     session {id} without the plugin: remove it yourself if there is one",
                    id = entry.id
                ),
                None => format!(
                    "the backend {backend} is not configured, so that nobody knows where the workload of session {id} \
                     would be: add the backend to the configuration and try again",
                    id = entry.id
                ),
            };
            Err(ControlError::Conflict(format!(
                "{left}; or forget the session (`seawall rm --break-glass --forget {}`), and what is left of it is left \
                 behind, until a backend of that name lists it and it is cleaned up as an orphan",
                entry.id
            )))
        })
        .await
    }
}

/// What has to be stored before anything is removed.
fn broken(draft: &mut Draft) -> Result<(), ControlError> {
    draft.record.desired = Desired::Removed;
    draft.marks =
        Marks { break_glass: true, look: false, gone: false, retry_at: None, attempts: 0, ..draft.marks.clone() };
    Ok(())
}

impl Core {
    /// Removes what can be reached, and the record in any case.
    async fn forget(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), ControlError> {
        caller::met(entry)?;
        let message = match self.backends.get(&entry.backend) {
            Some(backend) if backend.driver.can_expunge() => {
                self.change(entry, |draft, _| broken(draft)).await?;
                // Cancel-safe: the session stays wanted gone.
                let expunged = tokio::select! {
                    expunged = call("expunge", backend.driver.expunge(&entry.id)) => expunged,
                    () = self.soft.cancelled() => return Err(ControlError::ShuttingDown),
                };
                match expunged {
                    Ok(_) => "the host removed its workload without the plugin, and its record".to_owned(),
                    Err(error) => format!("its record was forgotten; what is left of it could not be removed: {error}"),
                }
            }
            Some(_) => "its record was forgotten; what is left of it, only the plugin knows".to_owned(),
            None => {
                "its record was forgotten; its backend is not configured, and what is left there is cleaned up when \
                     it is"
                    .to_owned()
            }
        };
        let change = Change::begin(entry, entry.commit().await, |_| true);
        let change = change.ok_or_else(|| ControlError::NoSuchSession(entry.id.to_string()))?;
        self.bury(change, &message).await.map_err(ControlError::Store)
    }
}
