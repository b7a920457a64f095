//! What the end of an act means for its session, and the way to the next one. Pure: [`advance`] takes a session through
//! every step that needs no backend, and ends with one that does.

use std::sync::Arc;
use std::time::Duration;

use seawall_backend::Error;
use seawall_model::{Desired, Health, Incarnation, SessionState, Signal, Status, Timestamp};
use seawall_store::Act;

use crate::draft::{Context, Draft};
use crate::events::Kind;
use crate::observe::{frozen, observed, tell};
use crate::plan::{Action, plan};

/// What a worker does next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// End: there is no work.
    Rest,
    /// Sleep, unless something changes.
    WaitUntil(Timestamp),
    /// Wait for the backend, unless something changes.
    AwaitBackend,
    /// Wait until nobody reads what it wrote.
    AwaitReaders,
    /// Delete the record.
    Forget,
    /// Call the backend. The store knows of it.
    Call(Call),
}

/// A call to a backend on behalf of one session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    /// `inspect` of one.
    Look,
    /// `create`.
    Create,
    /// `start`.
    Start,
    /// `signal`.
    Signal(Signal),
    /// `pause`.
    Pause,
    /// `unpause`.
    Unpause,
    /// `remove`, by force.
    Remove(Incarnation),
    /// `expunge`: the host's own hand, not the plugin.
    Expunge,
}

impl Call {
    /// The backend's function.
    pub(crate) fn function(&self) -> &'static str {
        match self {
            Self::Look => "inspect",
            Self::Create => "create",
            Self::Start => "start",
            Self::Signal(_) => "signal",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Remove(_) => "remove",
            Self::Expunge => "expunge",
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It was given up, since the session is no longer wanted to run or its backend was replaced. What it did is not known.
    GivenUp,
    /// The backend's answer: a status where the call has one; `None` to a look is that the workload was left out.
    Answer(Result<Option<Status>, Error>),
}

/// A hint of the backend to try later is kept to, up to this.
pub(crate) const LONGEST_HINT: Duration = Duration::from_secs(600);

/// Takes the session to the next step that needs somebody else, and opens the intent of that step.
pub(crate) fn advance(session: &mut Draft, context: &Context<'_>) -> Step {
    loop {
        let incarnation = session.record.incarnation;
        match plan(session, context) {
            Action::Rest => return Step::Rest,
            Action::WaitUntil(at) => return Step::WaitUntil(at),
            Action::AwaitBackend => {
                session.record.reason =
                    Some(format!("waits until the backend {} can be used", session.record.backend()));
                return Step::AwaitBackend;
            }
            Action::AwaitReaders => return Step::AwaitReaders,
            Action::RemoveItself => session.record.desired = Desired::Removed,
            Action::Forget => return Step::Forget,
            Action::Look => return Step::Call(Call::Look),
            Action::Create => {
                session.record.handle = None;
                session.intend(incarnation, Act::Create, context.now);
                return Step::Call(Call::Create);
            }
            Action::Start => {
                session.intend(incarnation, Act::Start, context.now);
                return Step::Call(Call::Start);
            }
            Action::Signal(signal) => return Step::Call(Call::Signal(signal)),
            Action::Pause => return Step::Call(Call::Pause),
            Action::Unpause => return Step::Call(Call::Unpause),
            Action::Remove(incarnation) => {
                session.intend(incarnation, Act::Remove, context.now);
                return Step::Call(Call::Remove(incarnation));
            }
            Action::Expunge => {
                session.intend(incarnation, Act::Remove, context.now);
                return Step::Call(Call::Expunge);
            }
            Action::BeginStop { signal, kill_at } => {
                session.marks.signalled = false;
                session.marks.killed_at = None;
                let act = match session.restarts() {
                    true => Act::Restart { signal, kill_at },
                    false => Act::Stop { signal, kill_at: Some(kill_at) },
                };
                session.intend(incarnation, act, context.now);
                if let Some(fault) = session.marks.fault.clone().filter(|_| session.ends_unhealthy()) {
                    let message = format!("{}; SIGKILL follows at {kill_at}, then the next incarnation", fault.why);
                    tell(session, Kind::SessionStopping, message, context);
                }
            }
            Action::Next => {
                session.record.restarts = session.record.restarts.saturating_add(1);
                session.next_incarnation();
            }
            Action::Stopped => {
                session.record.state = SessionState::Stopped;
                session.record.health = Health::Unknown;
                session.record.restart_at = None;
                session.record.reason = None;
                session.forgive();
                session.intent = None;
                tell(session, Kind::SessionStopped, "it will not be started again".to_owned(), context);
            }
            Action::Settle => session.intent = None,
        }
    }
}

/// Takes in how a call ended.
pub(crate) fn settle(session: &mut Draft, call: &Call, outcome: Outcome, context: &Context<'_>) {
    let answer = match outcome {
        Outcome::GivenUp => return,
        Outcome::Answer(answer) => answer,
    };
    if let Call::Signal(signal) = call
        && session.open() == Some(Act::Signal { signal: *signal })
    {
        sent(session, *signal, answer.map(|_| ()), context);
        return;
    }
    if let Call::Pause | Call::Unpause = call
        && session.marks.freeze == Some(*call == Call::Pause)
    {
        // Whoever asked is told how it went, and asks again.
        session.marks.freeze = None;
        if answer.is_ok() {
            frozen(session, *call == Call::Pause, context);
        }
        session.marks.frozen = Some(answer.map(|_| ()).map_err(Arc::new));
        succeeded(session);
        return;
    }
    match answer {
        Ok(status) => answered(session, call, status.as_ref(), context),
        Err(Error::NotFound(_)) if matches!(call, Call::Signal(_) | Call::Remove(_)) => {
            answered(session, call, None, context);
        }
        Err(error) => failed(session, call, &error, context),
    }
}

/// A signal is sent once: whoever asked for it is told how that went, and asks again.
fn sent(session: &mut Draft, signal: Signal, answer: Result<(), Error>, context: &Context<'_>) {
    session.intent = None;
    session.marks.looks = 0;
    if answer.is_ok() {
        tell(session, Kind::SessionSignalled, format!("{signal} was sent, as was asked for"), context);
    }
    session.marks.sent = Some(answer.map_err(Arc::new));
    succeeded(session);
}

fn answered(session: &mut Draft, call: &Call, status: Option<&Status>, context: &Context<'_>) {
    match (call, status) {
        (Call::Create, Some(status)) => {
            observed(session, status, context);
            succeeded(session);
        }
        (Call::Look, Some(status)) => {
            let attempts = session.marks.attempts;
            observed(session, status, context);
            succeeded(session);
            if session.record.state == SessionState::Created {
                // The start did not happen. If it failed, the next one waits.
                session.intent = None;
                session.marks.attempts = attempts;
                let delay = context.config.retry.delay(attempts, context.jitter);
                session.marks.retry_at = (attempts > 0).then(|| context.now + delay);
            }
        }
        (Call::Start, Some(status)) => {
            observed(session, status, context);
            if session.record.state == SessionState::Created {
                // Not an error, and not started either: do not ask again at once.
                later(session, "the backend says that it is not started yet", None, context);
            } else {
                succeeded(session);
            }
        }
        (Call::Look, None) => {
            session.marks.look = false;
            session.marks.missing = true;
            succeeded(session);
        }
        (Call::Create | Call::Start, None) => later(session, "the backend gave no status", None, context),
        (Call::Signal(signal), _) => {
            if *signal == Signal::KILL {
                session.marks.killed_at = Some(context.now);
            }
            // What is open may have been replaced while the call was under way.
            if session.ending().is_some_and(|(wanted, _)| wanted == *signal) {
                session.marks.signalled = true;
            }
            session.marks.looks = 0;
            succeeded(session);
        }
        (Call::Pause | Call::Unpause, _) => {
            frozen(session, *call == Call::Pause, context);
            succeeded(session);
        }
        (Call::Expunge, _) => {
            session.marks.gone = true;
            session.intent = None;
            succeeded(session);
        }
        (Call::Remove(incarnation), _) => {
            if *incarnation == session.record.incarnation {
                session.marks.gone = true;
                session.marks.left_out = false;
                session.marks.missing = false;
                session.marks.doubt = None;
            } else {
                session.marks.previous_gone = true;
            }
            session.record.handle = None;
            // With the session still wanted gone, the record is what is left to do.
            if session.intent.as_ref().is_some_and(|intent| intent.act == Act::Remove) {
                session.intent = None;
            }
            succeeded(session);
        }
    }
}

fn succeeded(session: &mut Draft) {
    session.marks.attempts = 0;
    session.marks.retry_at = None;
}

fn failed(session: &mut Draft, call: &Call, error: &Error, context: &Context<'_>) {
    let never = match call {
        // What a create does not find is what the spec names: an image, a program.
        Call::Create => error.is_permanent() || matches!(error, Error::NotFound(_)),
        Call::Start => error.is_permanent(),
        Call::Look | Call::Signal(_) | Call::Pause | Call::Unpause | Call::Remove(_) | Call::Expunge => false,
    };
    if *call == Call::Unpause && (error.is_permanent() || matches!(error, Error::Conflict { .. } | Error::NotFound(_)))
    {
        session.marks.stuck = true;
        return;
    }
    if never {
        refused(session, call, error, context);
        return;
    }
    if *call == Call::Start && matches!(error, Error::Conflict { .. } | Error::NotFound(_)) {
        // It ended, or is not there: the backend knows which.
        session.marks.look = true;
        later(session, &error.to_string(), None, context);
        session.marks.retry_at = None;
        return;
    }
    if let Some(after) = error.not_asked() {
        // Nobody was asked, hence nothing failed. Spread, so that those who were sent away together do not come back so.
        let delay = after.min(LONGEST_HINT) + context.config.retry.first.mul_f64(context.jitter);
        put_off(session, &error.to_string(), delay, context);
        return;
    }
    let hint = match error {
        Error::Conflict { retry_after, .. }
        | Error::Exhausted { retry_after, .. }
        | Error::Unavailable { retry_after, .. } => *retry_after,
        Error::NotFound(_)
        | Error::Invalid(_)
        | Error::Denied(_)
        | Error::Unsupported(_)
        | Error::Other(_)
        | Error::Full(_)
        | Error::Open { .. }
        | Error::Quarantined { .. }
        | Error::Fault(_) => None,
    };
    later(session, &error.to_string(), hint, context);
}

/// The backend will never do it: that is the end of this start, and no matter for the restart policy.
fn refused(session: &mut Draft, call: &Call, error: &Error, context: &Context<'_>) {
    session.intent = None;
    session.marks.gone = session.marks.gone || *call == Call::Create;
    session.marks.refused = Some(Arc::new(error.clone()));
    succeeded(session);
    if session.record.desired != Desired::Running {
        return;
    }
    session.record.state = SessionState::Failed;
    session.record.health = Health::Unknown;
    session.record.finished_at = Some(context.now);
    session.record.reason = Some(error.to_string());
    let what = if *call == Call::Create { "made" } else { "started" };
    tell(session, Kind::SessionFailed, format!("it could not be {what}: {error}"), context);
}

fn later(session: &mut Draft, why: &str, hint: Option<Duration>, context: &Context<'_>) {
    session.marks.attempts = session.marks.attempts.saturating_add(1);
    let delay = context.config.retry.delay(session.marks.attempts, context.jitter);
    put_off(session, why, delay.max(hint.unwrap_or_default().min(LONGEST_HINT)), context);
}

fn put_off(session: &mut Draft, why: &str, delay: Duration, context: &Context<'_>) {
    session.marks.retry_at = Some(context.now + delay);
    if session.record.reason.as_deref() != Some(why) {
        session.record.reason = Some(why.to_owned());
        tell(session, Kind::SessionRetrying, why.to_owned(), context);
    }
}
