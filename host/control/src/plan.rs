//! The planner: where a session is, and the one next step. Pure; time, the open intent and the backend's health are
//! its inputs, so that it can be tried on every situation there is.
//!
//! ```text
//!   wanted     state       step
//!   running    pending     remove the incarnation before, then create
//!              created     start
//!              restarting  wait for the backoff, then the next incarnation
//!              running     rest; unhealthy and to be started again, or a restart was asked for: as if wanted stopped;
//!                          a user's signal: send it; to be paused, or to run on: see to that
//!   stopped    pending     remove what an open create may have made, then `stopped`
//!              created     remove, then `stopped`
//!              restarting  `stopped`
//!              running     signal, and let run on if paused; KILL at the end of the grace
//!   either     stopped ... it removes itself: once nobody reads its log any more, as if wanted removed
//!   removed    any         remove by force (or, with the glass broken, by the host's own hand), then forget
//! ```
//!
//! What keeps it safe: nothing is ever created while an older incarnation may be there; what is unknown or missing
//! leads to no step while the session is wanted to run; and each step may be taken twice.

use std::time::Duration;

use seawall_model::{Desired, Incarnation, SessionSpec, SessionState, Signal, Timestamp};
use seawall_store::Act;

use crate::draft::{Context, Draft};
use crate::settle::LONGEST_HINT;

/// The next step for a session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// None, until something changes.
    Rest,
    /// None before this.
    WaitUntil(Timestamp),
    /// None until the backend can be used.
    AwaitBackend,
    /// Ask the backend how the workload is.
    Look,
    /// Make the workload of the record's incarnation.
    Create,
    /// Start it.
    Start,
    /// Open a stop with the end of the grace. No act by itself.
    BeginStop {
        /// What it begins with.
        signal: Signal,
        /// The end of the grace.
        kill_at: Timestamp,
    },
    /// Send a signal that belongs to the open act.
    Signal(Signal),
    /// Freeze it.
    Pause,
    /// Let it run on.
    Unpause,
    /// Remove the workload of this incarnation.
    Remove(Incarnation),
    /// Remove every workload of the session without the plugin.
    Expunge,
    /// Count up and make the workload anew. No act by itself.
    Next,
    /// It is stopped. No act by itself.
    Stopped,
    /// None until nobody reads what it wrote.
    AwaitReaders,
    /// It is to be gone. No act by itself.
    RemoveItself,
    /// Nothing is under way: settle the intent. No act by itself.
    Settle,
    /// Delete the record.
    Forget,
}

/// So long after its end a session that removes itself waits for a reader who said that he comes.
const AWAIT_READER: Duration = Duration::from_secs(10);
/// Between two KILLs, should one not be enough.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// The next step.
pub(crate) fn plan(session: &Draft, context: &Context<'_>) -> Action {
    if let Some(at) = session.marks.retry_at
        && ahead(at, context.config.retry.most.max(LONGEST_HINT + context.config.retry.first), context)
    {
        return Action::WaitUntil(at);
    }
    if session.marks.look {
        return Action::Look;
    }
    match session.record.desired {
        Desired::Running => wanted_running(session, context),
        Desired::Stopped => wanted_stopped(session, context),
        Desired::Removed => wanted_removed(session),
    }
}

fn wanted_running(session: &Draft, context: &Context<'_>) -> Action {
    match session.record.state {
        SessionState::Pending => match remove_previous(session) {
            Some(remove) => remove,
            None if context.usable => Action::Create,
            None => Action::AwaitBackend,
        },
        SessionState::Created if session.marks.missing => Action::Rest,
        SessionState::Created => Action::Start,
        SessionState::Restarting => match session.record.restart_at {
            Some(at) if ahead(at, session.backoff(context).most, context) => Action::WaitUntil(at),
            _ => Action::Next,
        },
        SessionState::Running | SessionState::Paused => match session.open() {
            Some(Act::Signal { signal }) => Action::Signal(signal),
            _ if is_to_be_replaced(session, context) => stop(session, context),
            _ => match session.marks.freeze {
                Some(true) => Action::Pause,
                Some(false) => Action::Unpause,
                None => Action::Rest,
            },
        },
        // What is shown, never what is recorded.
        SessionState::Unknown => Action::Rest,
        SessionState::Stopped | SessionState::Failed | SessionState::Lost => settled(session, context),
    }
}

/// It is ended to be started again, since that was asked for or since it is unhealthy; never if nothing would start it,
/// and not for its health while it is paused.
fn is_to_be_replaced(session: &Draft, context: &Context<'_>) -> bool {
    let runs = session.record.state == SessionState::Running;
    let faulty = runs && session.marks.fault.as_ref().is_some_and(|fault| fault.restart);
    session.restarts() || session.ends_unhealthy() || (faulty && session.comes_back(context))
}

fn wanted_stopped(session: &Draft, context: &Context<'_>) -> Action {
    match session.record.state {
        SessionState::Pending => {
            remove_previous(session).or_else(|| remove_half_made(session)).unwrap_or(Action::Stopped)
        }
        SessionState::Created => match session.open() {
            _ if session.marks.gone => Action::Stopped,
            // It may run by now, and then is owed its grace.
            Some(Act::Start) => Action::Look,
            _ => Action::Remove(session.record.incarnation),
        },
        SessionState::Restarting => Action::Stopped,
        SessionState::Running | SessionState::Paused => stop(session, context),
        SessionState::Unknown => Action::Rest,
        SessionState::Stopped | SessionState::Failed | SessionState::Lost => settled(session, context),
    }
}

fn wanted_removed(session: &Draft) -> Action {
    if session.marks.break_glass {
        return if session.marks.gone { Action::Forget } else { Action::Expunge };
    }
    if session.record.state == SessionState::Pending
        && let Some(remove) = remove_previous(session)
    {
        return remove;
    }
    if session.marks.gone || session.record.incarnation == 0 {
        Action::Forget
    } else {
        Action::Remove(session.record.incarnation)
    }
}

fn stop(session: &Draft, context: &Context<'_>) -> Action {
    match session.ending() {
        Some((_, Some(kill_at))) if context.now >= kill_at => match session.marks.killed_at {
            Some(at) if ahead(at + KILL_AGAIN, KILL_AGAIN, context) => Action::WaitUntil(at + KILL_AGAIN),
            _ => Action::Signal(Signal::KILL),
        },
        // The clock was put back since: the grace begins again.
        Some((signal, Some(kill_at))) if session.since() > context.now => {
            Action::BeginStop { signal, kill_at: context.now + kill_at.since(session.since()) }
        }
        // What is frozen cannot end: the signal waits for it to run on.
        Some(_) if session.marks.signalled && session.record.state == SessionState::Paused && !session.marks.stuck => {
            Action::Unpause
        }
        Some((_, kill_at)) if session.marks.signalled => kill_at.map_or(Action::Rest, Action::WaitUntil),
        Some((signal, _)) => Action::Signal(signal),
        None => {
            let spec = &session.record.spec;
            let grace = session.marks.grace.or(spec.stop_grace).unwrap_or(SessionSpec::STOP_GRACE);
            Action::BeginStop { signal: spec.stop_signal.unwrap_or(Signal::TERM), kill_at: context.now + grace }
        }
    }
}

/// Whether there is something to wait for. What is further off than any delay leads was set before the clock was put back.
fn ahead(at: Timestamp, most: Duration, context: &Context<'_>) -> bool {
    at > context.now && at.since(context.now) <= most
}

/// While a session is pending, the workload before it may still be there.
fn remove_previous(session: &Draft) -> Option<Action> {
    let previous = session.record.incarnation.checked_sub(1).filter(|previous| *previous > 0)?;
    (!session.marks.previous_gone).then_some(Action::Remove(previous))
}

/// What an open create may have made, or an open removal may have left.
fn remove_half_made(session: &Draft) -> Option<Action> {
    let may_be_there = matches!(session.open(), Some(Act::Create | Act::Remove)) && !session.marks.gone;
    may_be_there.then_some(Action::Remove(session.record.incarnation))
}

fn settled(session: &Draft, context: &Context<'_>) -> Action {
    if session.intent.is_some() {
        return Action::Settle;
    }
    if !session.removes_itself() {
        return Action::Rest;
    }
    match session.record.finished_at.map(|at| at + AWAIT_READER) {
        _ if session.marks.readers > 0 => Action::AwaitReaders,
        Some(until) if session.marks.awaited && ahead(until, AWAIT_READER, context) => Action::WaitUntil(until),
        _ => Action::RemoveItself,
    }
}
