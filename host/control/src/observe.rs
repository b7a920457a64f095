//! What an answer about a workload means for its session: the state in a user's words, how it ended (A3), and what the
//! restart policy says to that. Pure.

use seawall_model::{Exit, Health, Incarnation, Redactor, RestartPolicy, SessionState, State, Status, Timestamp};
use seawall_store::Act;

use crate::draft::{Context, Draft, Marks, is_live};
use crate::events::{Kind, of_session};
use crate::policy::in_words;
use crate::probe::{Fault, Verdict, beginning};

/// The answer changes nothing that is known: most answers of most sweeps.
pub(crate) fn is_news(session: &crate::state::Cell, status: &Status) -> bool {
    let (record, marks) = (&session.record, &session.marks);
    let same_state = match status.state {
        State::Created => record.state == SessionState::Created,
        State::Running => record.state == SessionState::Running,
        State::Paused => record.state == SessionState::Paused,
        State::Exited | State::Dead => false,
    };
    let same_handle = status.handle.is_none() || status.handle == record.handle;
    let settled = !matches!(session.intent.as_ref().map(|intent| intent.act), Some(Act::Create | Act::Start));
    let certain = !marks.missing && !marks.look && marks.doubt.is_none();
    let same_health = marks.told == status.health && record.health == merged(record.state, marks);
    !(same_state && same_handle && settled && certain && same_health)
}

/// Takes in what the backend says of the workload of the record's incarnation.
///
/// An end is final: whatever an older answer says later, that incarnation does not run again.
pub(crate) fn observed(session: &mut Draft, status: &Status, context: &Context<'_>) {
    session.marks.missing = false;
    session.marks.look = false;
    session.marks.doubt = None;
    session.marks.gone = false;
    session.marks.left_out = false;
    if !is_live(session.record.state) && session.record.state != SessionState::Pending {
        return;
    }
    if session.record.state == SessionState::Pending {
        // Until now the handle was that of the incarnation before.
        session.record.handle = None;
    }
    if status.handle.is_some() {
        session.record.handle.clone_from(&status.handle);
    }
    match status.state {
        State::Created => {
            became(session, SessionState::Created);
            session.record.health = Health::Unknown;
            settle(session, |act| matches!(act, Act::Create));
        }
        State::Running | State::Paused => {
            let first = session.record.started_at.is_none();
            let started_at = status.started_at.map(|at| plausible(at, session, context));
            session.record.started_at = session.record.started_at.or(started_at).or(Some(context.now));
            if first {
                became(session, SessionState::Running);
                let message = format!("incarnation {} runs", session.record.incarnation);
                tell(session, Kind::SessionStarted, message, context);
                let beginning = beginning(&session.record.spec, context.engine_checks);
                session.record.started = beginning.started;
                session.record.ready = beginning.ready;
                session.marks.probed = beginning.health;
            }
            session.marks.told = status.health;
            frozen(session, status.state == State::Paused, context);
            settle(session, |act| matches!(act, Act::Create | Act::Start));
        }
        State::Exited | State::Dead => {
            if session.record.started_at.is_none() {
                session.record.started_at = status.started_at.map(|at| plausible(at, session, context));
            }
            ended(session, status.exit.clone().unwrap_or_default(), context);
        }
    }
}

/// Takes in that one which runs stands still, or does not.
pub(crate) fn frozen(session: &mut Draft, paused: bool, context: &Context<'_>) {
    let before = session.record.state;
    became(session, if paused { SessionState::Paused } else { SessionState::Running });
    if paused && before != SessionState::Paused {
        session.marks.stuck = false;
        session.marks.pauses = session.marks.pauses.wrapping_add(1);
        tell(session, Kind::SessionPaused, "its processes stand still".to_owned(), context);
    } else if !paused && before == SessionState::Paused {
        tell(session, Kind::SessionUnpaused, "it runs on".to_owned(), context);
    }
    health(session, context);
}

/// Takes in that the workload is certainly not there any more (confirmed by a complete listing).
pub(crate) fn vanished(session: &mut Draft, context: &Context<'_>) {
    session.marks.missing = false;
    session.marks.doubt = None;
    session.marks.gone = true;
    session.marks.left_out = true;
    if is_live(session.record.state) {
        let message = Some("its workload is no longer there".to_owned());
        ended(session, Exit { message, ..Exit::default() }, context);
    }
}

/// Takes in that a later start is there than the store knows: it is the session's now, whatever was known or under way.
pub(crate) fn overtaken(session: &mut Draft, incarnation: Incarnation, status: &Status, context: &Context<'_>) {
    session.next_incarnation();
    session.record.incarnation = incarnation;
    session.record.exit = None;
    observed(session, status, context);
}

/// The workload is over, and how.
fn ended(session: &mut Draft, mut exit: Exit, context: &Context<'_>) {
    let finished_at = exit.at.map_or(context.now, |at| plausible(at, session, context));
    exit.at = Some(finished_at);
    // What an engine says of an end may repeat what it was given.
    exit.message = exit.message.map(|message| clean(session, message));
    let asked = session.asked_to_end();
    let (again, unhealthy) = (session.restarts(), session.ends_unhealthy());
    let (state, kind) = classify(&exit, asked || again, unhealthy);
    let ended = if unhealthy { format!("ended for being unhealthy: {exit}") } else { exit.to_string() };
    let message = format!("incarnation {}: {ended}", session.record.incarnation);

    became(session, state);
    session.record.health = Health::Unknown;
    session.record.ready = false;
    session.record.finished_at = Some(finished_at);
    session.intent = None;
    session.marks.retry_at = None;
    session.marks.attempts = 0;
    let failed = unhealthy || !exit.success();
    session.record.exit = Some(exit);
    tell(session, kind, message, context);
    if asked {
        session.forgive();
        return;
    }
    if again {
        session.forgive();
        let message = format!("incarnation {} follows, as was asked for", session.record.incarnation + 1);
        tell(session, Kind::SessionRestarting, message, context);
        session.next_incarnation();
        return;
    }

    let uptime = session.record.started_at.map(|started| finished_at.since(started)).unwrap_or_default();
    // One that runs for hours and is never healthy has not done well.
    let did_well = if unhealthy { session.marks.healthy_for } else { uptime };
    if did_well >= session.reset_after(context) {
        session.record.failures = 0;
    }
    // With `always` an end with 0 counts too: it is what the backoff and its reset go by.
    if failed || session.record.spec.restart == RestartPolicy::Always {
        session.record.failures = session.record.failures.saturating_add(1);
    }
    restart(session, failed, ended, context);
}

/// Not before this incarnation was begun, as far as that is known, and not after now: a start in the last century, or an
/// end that is yet to come, would pass for a long and healthy life.
fn plausible(at: Timestamp, session: &Draft, context: &Context<'_>) -> Timestamp {
    let begun = session.intent.as_ref().filter(|intent| matches!(intent.act, Act::Create | Act::Start));
    let known = [begun.map(|intent| intent.since), session.record.started_at];
    let earliest = known.into_iter().flatten().fold(session.record.created_at, Timestamp::max);
    at.max(earliest).min(context.now)
}

/// A text about a session without its secrets.
fn clean(session: &Draft, text: String) -> String {
    match Redactor::of_values(session.record.spec.env.values().chain(session.marks.given.iter())) {
        Some(secrets) => secrets.clean(text),
        None => text,
    }
}

/// A3: ended for being unhealthy is `failed`; exit 0, or asked to, is `stopped`; nobody can say is `lost`; all else is `failed`.
fn classify(exit: &Exit, asked: bool, unhealthy: bool) -> (SessionState, Kind) {
    if unhealthy {
        (SessionState::Failed, Kind::SessionFailed)
    } else if asked || exit.success() {
        (SessionState::Stopped, Kind::SessionStopped)
    } else if exit.unknown() {
        (SessionState::Lost, Kind::SessionLost)
    } else if exit.oom {
        (SessionState::Failed, Kind::SessionOom)
    } else {
        (SessionState::Failed, Kind::SessionFailed)
    }
}

fn restart(session: &mut Draft, failed: bool, ended: String, context: &Context<'_>) {
    let (failures, policy) = (session.record.failures, session.record.spec.restart);
    let again = match policy {
        RestartPolicy::Never => false,
        RestartPolicy::OnFailure { max } => failed && max.is_none_or(|max| failures <= max),
        RestartPolicy::Always => true,
    };
    let budget = session.record.spec.restart_budget.filter(|_| session.budget_left(context.now) == Some(0));
    match (again, budget, policy) {
        (true, None, _) => {
            let delay = session.backoff(context).delay(failures, context.jitter);
            session.spend(context.now);
            session.record.state = SessionState::Restarting;
            session.record.restart_at = Some(context.now + delay);
            session.record.reason = Some(ended);
            let message = format!("incarnation {} follows in {} ms", session.record.incarnation + 1, delay.as_millis());
            tell(session, Kind::SessionRestarting, message, context);
        }
        (true, Some(budget), _) => {
            let budget = in_words(budget);
            let reason = format!("{ended}; it is not started again, since its budget of {budget} is used up");
            tell(session, Kind::SessionGaveUp, reason.clone(), context);
            session.record.reason = Some(reason);
        }
        (false, _, RestartPolicy::OnFailure { max: Some(max) }) if failed => {
            let reason = format!("it failed {failures} times in a row, and on-failure:{max} allows {max} restarts");
            tell(session, Kind::SessionGaveUp, reason.clone(), context);
            session.record.reason = Some(reason);
        }
        (false, ..) => {}
    }
}

/// Takes in what the host's probes of the incarnation that runs came to.
pub(crate) fn probed(session: &mut Draft, verdict: &Verdict, context: &Context<'_>) {
    session.record.started = verdict.started;
    if std::mem::replace(&mut session.record.ready, verdict.ready) != verdict.ready {
        let (kind, message) = match verdict.ready {
            true => (Kind::SessionReady, "it may be given work"),
            false => (Kind::SessionNotReady, "its readiness probe fails"),
        };
        tell(session, kind, message.to_owned(), context);
    }
    session.marks.probed = verdict.health;
    session.marks.fault.clone_from(&verdict.fault);
    health(session, context);
}

/// The worse of what the backend tells and what the host found out. Of one that is paused nobody can tell.
fn merged(state: SessionState, marks: &Marks) -> Health {
    match (marks.told, marks.probed) {
        _ if state == SessionState::Paused => Health::Unknown,
        (told, None) => told,
        (Health::Unhealthy, _) | (_, Some(Health::Unhealthy)) => Health::Unhealthy,
        (Health::Unknown, _) => Health::Unknown,
        (Health::Starting, _) => Health::Starting,
        (Health::Healthy, Some(probed)) => probed,
    }
}

fn health(session: &mut Draft, context: &Context<'_>) {
    let health = merged(session.record.state, &session.marks);
    let before = std::mem::replace(&mut session.record.health, health);
    if session.record.state == SessionState::Paused {
        // What was wrong with it is so again when it runs on.
        return;
    }
    if health != Health::Unhealthy {
        session.marks.fault = None;
        session.record.reason = None;
        if health == Health::Healthy {
            session.marks.healthy_since.get_or_insert(context.now);
        }
        if (before, health) == (Health::Unhealthy, Health::Healthy) {
            tell(session, Kind::SessionHealthy, "its health check passes again".to_owned(), context);
        }
        return;
    }
    if session.marks.told == Health::Unhealthy && session.marks.fault.is_none() {
        let restart = session.record.spec.restart_unhealthy;
        session.marks.fault = Some(Fault { why: "its health check fails".into(), restart });
    }
    let why = session.marks.fault.as_ref().map(|fault| fault.why.to_string());
    if before != Health::Unhealthy {
        let healthy_for = session.marks.healthy_since.take().map(|since| context.now.since(since));
        session.marks.healthy_for = healthy_for.unwrap_or_default();
        let message = why.clone().unwrap_or_else(|| "its health check fails".to_owned());
        tell(session, Kind::SessionUnhealthy, message, context);
    }
    session.record.reason = why.or_else(|| session.record.reason.take());
}

fn became(session: &mut Draft, state: SessionState) {
    if session.record.state != state {
        session.record.state = state;
        session.marks.looks = 0;
    }
    session.record.reason = None;
    session.record.restart_at = None;
}

fn settle(session: &mut Draft, done: impl Fn(Act) -> bool) {
    if session.intent.as_ref().is_some_and(|intent| done(intent.act)) {
        session.intent = None;
    }
}

pub(crate) fn tell(session: &mut Draft, kind: Kind, message: String, context: &Context<'_>) {
    let event = of_session(&session.record, kind, context.now, message);
    session.events.push(event);
}
