//! Sessions that are frozen for a while.
//!
//! That one is paused is what its backend tells, not a wish that is stored: whoever asks waits for the act, and is told how
//! it went. A crash in between leaves nothing to be done; the next look says which of the two it is. While a session is
//! paused its restart policy leaves it alone and no probe of it counts; a stop lets it run on, so that it can end.

use seawall_backend::{Error, ExecutionBackend as _, Interface};
use seawall_model::{Desired, Session, SessionId, SessionState};

use crate::ControlError;
use crate::backend::Backend;
use crate::control::Control;
use crate::core::Core;
use crate::draft::Draft;
use crate::state::Entry;
use crate::worker::kick;

impl Control {
    /// Freezes a session that runs. One that is frozen is left so. It is done when this returns.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` if it does not run or is being ended, `Backend` (`Unsupported` of one
    /// that cannot do it), `ShuttingDown`.
    pub async fn pause(&self, id: &SessionId) -> Result<Session, ControlError> {
        self.freeze(id, true).await
    }

    /// Lets a session run on. One that runs is left so. It is done when this returns.
    ///
    /// # Errors
    /// As [`Control::pause`].
    pub async fn unpause(&self, id: &SessionId) -> Result<Session, ControlError> {
        self.freeze(id, false).await
    }

    async fn freeze(&self, id: &SessionId, paused: bool) -> Result<Session, ControlError> {
        let entry = self.entry(id)?;
        self.request(|core| async move {
            let backend = core.backend(&entry.backend)?;
            able(&backend, Interface::Pause)?;
            core.change(&entry, |draft, _| freeze(draft, paused)).await?;
            kick(&core, &entry);
            done(&core, &entry, paused).await?;
            Ok(entry.with(|cell| cell.session()))
        })
        .await
    }
}

/// Whether the backend exports an optional interface.
///
/// # Errors
/// `Unsupported`, naming both.
pub(crate) fn able(backend: &Backend, interface: Interface) -> Result<(), Error> {
    let info = backend.driver.info();
    if info.has(interface) {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "the backend {} cannot do that: its plugin {} does not export `{}`",
        backend.name,
        info.name,
        interface.as_str()
    )))
}

fn word(paused: bool) -> &'static str {
    if paused { "paused" } else { "unpaused" }
}

pub(crate) fn freeze(draft: &mut Draft, paused: bool) -> Result<(), ControlError> {
    let (id, state) = (&draft.record.id, draft.record.state);
    let conflict = |what: String| Err(ControlError::Conflict(format!("session {id} {what}")));
    if draft.record.desired == Desired::Removed {
        return conflict("is being removed".to_owned());
    }
    if !matches!(state, SessionState::Running | SessionState::Paused) {
        return conflict(format!("is {state}: only one that runs can be {}", word(paused)));
    }
    if draft.record.desired == Desired::Stopped || draft.ending().is_some() {
        return conflict("is being ended".to_owned());
    }
    if draft.marks.freeze.is_some_and(|under_way| under_way != paused) {
        return conflict(format!("is being {}: try again when that is over", word(!paused)));
    }
    draft.marks.freeze = Some(paused);
    draft.marks.frozen = None;
    draft.marks.retry_at = None;
    Ok(())
}

/// Waits until it is so, or cannot be.
async fn done(core: &Core, entry: &Entry, paused: bool) -> Result<(), ControlError> {
    let mut changed = entry.subscribe();
    loop {
        let (open, done) = entry.with(|cell| {
            let ending = cell.record.desired != Desired::Running || !cell.record.state.runs();
            let open = cell.marks.freeze == Some(paused) && !cell.removed && (cell.acting || !ending);
            (open, cell.marks.frozen.clone())
        });
        match done {
            _ if open => {}
            Some(done) => return done.map_err(|error| ControlError::Backend(Error::clone(&error))),
            None => {
                let (id, word) = (&entry.id, word(paused));
                return Err(ControlError::Conflict(format!("session {id} was ended before it could be {word}")));
            }
        }
        tokio::select! {
            // Cancel-safe, both.
            changed = changed.changed() => changed.map_err(|_| ControlError::NoSuchSession(entry.id.to_string()))?,
            () = core.soft.cancelled() => return Err(ControlError::ShuttingDown),
        }
    }
}
