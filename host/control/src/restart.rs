//! A restart that a user asks for: the session is ended as by a stop, and its next incarnation follows at once, whatever
//! its restart policy says. It stays wanted running all the while, and the open act is what is stored of it: after a crash
//! the next daemon ends the same incarnation, and no other.

use std::time::Duration;

use seawall_model::{Desired, Session, SessionId, SessionSpec, Signal, Timestamp};
use seawall_store::Act;

use crate::commands::{let_in, start};
use crate::control::Control;
use crate::draft::{Context, Draft};
use crate::events::Kind;
use crate::observe::tell;
use crate::worker::kick;
use crate::{BackendHealth, ControlError};

impl Control {
    /// Ends a session that runs, with its stop signal and SIGKILL after `grace` (absent: the spec's), and starts its next
    /// incarnation. One that is over is started; one that is about to run anyway is left alone. It is done when the
    /// session has a later incarnation than in the answer, if it runs there.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `BackendUnhealthy`, `Conflict` while it is being removed, `Store`,
    /// `ShuttingDown`.
    pub async fn restart(&self, id: &SessionId, grace: Option<Duration>) -> Result<Session, ControlError> {
        let entry = self.entry(id)?;
        self.request(|core| async move {
            let backend = core.backend(&entry.backend)?;
            let health = (backend.health(), backend.error());
            let_in(&backend)?;
            core.readable_by(&entry).await?;
            let session = core.change(&entry, |draft, context| restart(draft, grace, health, context)).await?;
            kick(&core, &entry);
            Ok(session)
        })
        .await
    }
}

pub(crate) fn restart(
    draft: &mut Draft,
    grace: Option<Duration>,
    (health, error): (BackendHealth, Option<String>),
    context: &Context<'_>,
) -> Result<(), ControlError> {
    if !draft.record.state.runs() || draft.record.desired == Desired::Removed {
        return start(draft, health, error);
    }
    if !health.usable() {
        // What is ended now could not be started again.
        return Err(ControlError::BackendUnhealthy { backend: draft.record.backend().clone(), health, error });
    }
    let spec = &draft.record.spec;
    let kill_at = context.now + grace.or(spec.stop_grace).unwrap_or(SessionSpec::STOP_GRACE);
    let (signal, kill_at) = match draft.ending() {
        Some((signal, before)) => (signal, before.map_or(kill_at, |before: Timestamp| before.min(kill_at))),
        None => {
            draft.marks.signalled = false;
            draft.marks.killed_at = None;
            (spec.stop_signal.unwrap_or(Signal::TERM), kill_at)
        }
    };
    draft.record.desired = Desired::Running;
    draft.marks.retry_at = None;
    draft.marks.attempts = 0;
    draft.intend(draft.record.incarnation, Act::Restart { signal, kill_at }, context.now);
    let message = format!("a restart was asked for; SIGKILL follows at {kill_at}, then the next incarnation");
    tell(draft, Kind::SessionStopping, message, context);
    Ok(())
}
