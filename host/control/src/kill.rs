//! Signals that a user sends.
//!
//! KILL, TERM, INT, QUIT and the session's own stop signal ask it to end: from then on it is wanted stopped, so that the
//! restart policy does not bring it back; but for KILL, it may take as long as it likes. Any other signal is sent once
//! and changes nothing that is wanted: whoever asked waits for that, and is told if it failed. Either is stored before the
//! backend is asked; a crash between the two has it sent by the next daemon.

use std::time::Duration;

use seawall_model::{Desired, Session, SessionId, SessionSpec, Signal, Timestamp};
use seawall_store::Act;

use crate::ControlError;
use crate::commands::stop;
use crate::control::Control;
use crate::core::Core;
use crate::draft::{Context, Draft};
use crate::events::Kind;
use crate::observe::tell;
use crate::state::Entry;
use crate::worker::kick;

impl Control {
    /// Has a signal sent to a session. One that asks for its end is a wish, and this returns once that is stored; any
    /// other has been sent when this returns.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` if it does not run or another signal is on its way, `Backend` if the
    /// signal could not be sent, `Store`, `ShuttingDown`.
    pub async fn kill(&self, id: &SessionId, signal: Signal) -> Result<Session, ControlError> {
        let entry = self.entry(id)?;
        self.request(|core| async move {
            core.backend(&entry.backend)?;
            let session = core.change(&entry, |draft, context| kill(draft, signal, context)).await?;
            kick(&core, &entry);
            if !asks_to_end(&session.spec, signal) {
                sent(&core, &entry).await?;
            }
            Ok(session)
        })
        .await
    }
}

/// Waits until the signal was sent, or cannot be.
async fn sent(core: &Core, entry: &Entry) -> Result<(), ControlError> {
    let mut changed = entry.subscribe();
    loop {
        let (open, sent) = entry.with(|cell| {
            let act = cell.intent.as_ref().map(|intent| intent.act);
            (!cell.removed && matches!(act, Some(Act::Signal { .. })), cell.marks.sent.clone())
        });
        match sent {
            _ if open => {}
            Some(sent) => return sent.map_err(|error| ControlError::Backend(seawall_backend::Error::clone(&error))),
            None => {
                let id = &entry.id;
                return Err(ControlError::Conflict(format!("session {id} ended before the signal could be sent")));
            }
        }
        tokio::select! {
            // Cancel-safe, both.
            changed = changed.changed() => changed.map_err(|_| ControlError::NoSuchSession(entry.id.to_string()))?,
            () = core.soft.cancelled() => return Err(ControlError::ShuttingDown),
        }
    }
}

/// Signals that ask any program to end. Those that tell it something else, such as HUP, are not among them.
const ENDS: [&str; 4] = ["KILL", "TERM", "INT", "QUIT"];

/// Whether this signal asks such a session to end.
fn asks_to_end(spec: &SessionSpec, signal: Signal) -> bool {
    spec.stop_signal == Some(signal) || ENDS.iter().any(|name| name.parse() == Ok(signal))
}

pub(crate) fn kill(draft: &mut Draft, signal: Signal, context: &Context<'_>) -> Result<(), ControlError> {
    let (id, state) = (draft.record.id.clone(), draft.record.state);
    let conflict = |what: String| Err(ControlError::Conflict(format!("session {id} {what}")));
    if draft.record.desired == Desired::Removed {
        return conflict("is being removed".to_owned());
    }
    if state.is_final() {
        return conflict(format!("is {state}: only one that runs can be sent a signal"));
    }
    let runs = state.runs();
    let kills = signal == Signal::KILL;
    if !asks_to_end(&draft.record.spec, signal) {
        return match draft.open() {
            _ if !runs => conflict(format!("is {state}: {signal} can only be sent to one that runs")),
            Some(Act::Signal { signal: open }) if open != signal => {
                conflict(format!("is being sent {open}: try again when that is over"))
            }
            _ if draft.ending().is_some() => {
                conflict("is being ended: only a signal that asks for its end can be sent to it".to_owned())
            }
            _ => {
                draft.marks.sent = None;
                draft.marks.retry_at = None;
                draft.intend(draft.record.incarnation, Act::Signal { signal }, context.now);
                Ok(())
            }
        };
    }
    if !runs {
        // There may be nothing yet to send it to.
        return stop(draft, kills.then_some(Duration::ZERO), context);
    }
    let before = draft.ending().and_then(|(_, kill_at)| kill_at);
    let kill_at = earlier(before, kills.then_some(context.now));
    draft.record.desired = Desired::Stopped;
    draft.marks.retry_at = None;
    draft.marks.attempts = 0;
    // It is sent even if it was before.
    draft.marks.signalled = false;
    draft.marks.killed_at = None;
    draft.intend(draft.record.incarnation, Act::Stop { signal, kill_at }, context.now);
    tell(draft, Kind::SessionStopping, format!("{signal} is sent, as was asked for"), context);
    Ok(())
}

/// The earlier of two ends of a grace, of which none may have one.
pub(crate) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}
