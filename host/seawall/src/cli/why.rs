//! `seawall why`: the chain from what is wanted to what stands in the way.

use std::time::Duration;

use clap::Args;
use seawall_backend::breaker::{BreakerState, BreakerStatus};
use seawall_backend::limit::{LimitStats, PoolStats};
use seawall_backend::quarantine::Quarantined;
use seawall_control::{LastError, LastProbe, Look, OpenAct, Restart, Retry, Why as Answer};
use seawall_model::{CheckResult, Timestamp, TraceId};
use seawall_store::Act;

use super::Global;
use super::format::{age, facts};
use super::sessions::word;
use crate::client::Client;
use crate::exit::Failure;

/// `why`.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Its id, the beginning of it (4 digits or more), or its name
    session: String,
}

impl Why {
    /// Asks and shows.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let why: Answer = client.get(&["sessions", &self.session, "why"], &[]).await?;
        global.show(&why, |why| describe(why, Timestamp::now()))?;
        Ok(0)
    }
}

fn describe(why: &Answer, now: Timestamp) -> String {
    let observed = &why.observed;
    let known = why.backend.known.as_ref();
    let state = match observed.last_state {
        Some(last) => format!("{} ({last})", observed.state),
        None => observed.state.to_string(),
    };
    let seen = match observed.at {
        None => "not seen since the daemon started".to_owned(),
        Some(at) => format!("seen {}", looked(now, at, observed.by)),
    };
    let mut text = facts(&[
        ("session", Some(format!("{} {}", why.session, why.name))),
        ("why", Some(why.summary.clone())),
        ("wanted", Some(word(&why.desired))),
        ("known", Some(format!("{state}, incarnation {}, {seen}", observed.incarnation))),
        ("reason", observed.reason.clone()),
        ("act", why.act.as_ref().map(|act| open_act(act, now))),
        ("last check", why.last_check.as_ref().map(|last| last_check(last, now))),
        ("retry", why.retry.as_ref().map(|failed| retry(failed, now))),
        ("last exit", why.exit.as_ref().map(ToString::to_string)),
        ("restart", Some(restart(&why.restart, now))),
        (
            "backend",
            Some(match known {
                Some(known) => format!("{}, {}", why.backend.name, known.health),
                None => format!("{}, not configured", why.backend.name),
            }),
        ),
        (
            "check failed",
            known.and_then(|known| known.error.as_ref().map(|error| format!("{error}{}", traced(known.trace_id)))),
        ),
        ("looked at", known.and_then(|known| known.swept_at.map(|at| looked(now, at, known.swept_by)))),
        ("breaker", known.map(|known| breaker(&known.bulkhead.breaker))),
        ("permits", known.map(|known| permits(&known.bulkhead.permits))),
    ]);
    for LastProbe { probe, result, at, message, successes: _, failures } in &why.probes {
        let times = if *failures > 1 { format!(", {failures} times in a row") } else { String::new() };
        let message = message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
        let line = format!("  {} {} {} ago{times}{message}\n", probe.as_str(), word(result), age(now, *at));
        text.push_str(&super::printable(&line));
    }
    for condition in known.iter().flat_map(|known| &known.conditions) {
        let (kind, trace) = (&condition.kind, traced(condition.trace_id));
        let line = format!("! {kind} for {}: {}{trace}\n", age(now, condition.since), condition.message);
        text.push_str(&super::printable(&line));
    }
    text.push_str(&quarantine(&why.quarantine));
    for LastError { at, times, function, message, trace_id } in &why.errors {
        let times = if *times == 1 { String::new() } else { format!(", {times} times in a row") };
        let (ago, trace) = (age(now, *at), traced(*trace_id));
        text.push_str(&super::printable(&format!("  {ago} ago{times}: {function}: {message}{trace}\n")));
    }
    text
}

fn last_check(last: &CheckResult, now: Timestamp) -> String {
    let how = last.code.map_or_else(|| "cut off".to_owned(), |code| format!("exit code {code}"));
    format!("{} ago, {how}: {}", age(now, last.at), super::printable(&last.output))
}

fn looked(now: Timestamp, at: Timestamp, by: Option<Look>) -> String {
    let by = by.map_or_else(String::new, |by| format!(" by {by}"));
    format!("{} ago{by}", age(now, at))
}

/// The trace of what went wrong: what the daemon's log says of it is found by that.
fn traced(id: Option<TraceId>) -> String {
    id.map_or_else(String::new, |id| format!(" (trace {id})"))
}

fn open_act(act: &OpenAct, now: Timestamp) -> String {
    let what = match act.act {
        Act::Create => "create".to_owned(),
        Act::Start => "start".to_owned(),
        Act::Stop { signal, kill_at: Some(kill_at) } => format!("stop with {signal}, KILL at {kill_at},"),
        Act::Stop { signal, kill_at: None } => format!("stop with {signal} alone,"),
        Act::Restart { signal, kill_at } => format!("restart with {signal}, KILL at {kill_at},"),
        Act::Signal { signal } => format!("send {signal}"),
        Act::Remove => "remove".to_owned(),
    };
    format!("{what} incarnation {} for {}", act.incarnation, age(now, act.since))
}

fn retry(retry: &Retry, now: Timestamp) -> String {
    let due = retry.at.map_or_else(|| "now".to_owned(), |at| format!("in {}", age(at, now)));
    match retry.failed {
        0 => format!("{due}; the backend was not asked"),
        failed => format!("{due}; {failed} tries failed in a row"),
    }
}

fn restart(restart: &Restart, now: Timestamp) -> String {
    let Restart { policy, restarts, failures, left, budget, budget_left, at } = restart;
    let budget = budget.zip(*budget_left).map_or_else(String::new, |(budget, left)| {
        format!(", {left} left of {} within {}", budget.restarts, humantime::format_duration(budget.within))
    });
    let left = left.map_or_else(String::new, |left| format!(", {left} left"));
    let due = at.map_or_else(String::new, |at| format!(", next in {}", age(at, now)));
    format!("{policy}: {restarts} so far, {failures} failures in a row{left}{budget}{due}")
}

/// A breaker in one line.
pub(super) fn breaker(status: &BreakerStatus) -> String {
    let lasted = short(status.lasted);
    let mut text = match status.state {
        BreakerState::Closed => format!("closed, {} of {} failures", status.failures, status.opens_at),
        BreakerState::Open => {
            format!("open for {lasted}, calls are let in after {}", short(status.retry_after.unwrap_or_default()))
        }
        BreakerState::HalfOpen => format!("half-open for {lasted}, one call at a time is let in"),
    };
    if let (Some(failure), true) = (&status.last_failure, status.state != BreakerState::Closed || status.failures > 0) {
        text.push_str(&format!("; at last `{}`: {}", failure.function, failure.reason));
    }
    text
}

/// Permits in one line.
pub(super) fn permits(stats: &LimitStats) -> String {
    let kinds = [("calls", stats.calls), ("long", stats.long), ("probes", stats.probes), ("streams", stats.streams)];
    let one = |(name, PoolStats { permits, in_flight, queued, refused }): (&str, PoolStats)| {
        let mut text = format!("{name} {in_flight}/{permits}");
        for (what, count) in [("waiting", queued as u64), ("refused", refused)] {
            if count > 0 {
                text.push_str(&format!(" {count} {what}"));
            }
        }
        text
    };
    kinds.map(one).join(", ")
}

/// A line for each function and session that are left alone.
pub(super) fn quarantine(list: &[Quarantined]) -> String {
    let line = |quarantined: &Quarantined| {
        let Quarantined { function, session, faults, left, reason } = quarantined;
        let left = short(*left);
        super::printable(&format!(
            "! `{function}` is not asked about {session} for {left}, after {faults} faults: {reason}\n"
        ))
    };
    list.iter().map(line).collect()
}

/// In seconds, for people; what is under way is never 0.
pub(super) fn short(duration: Duration) -> String {
    format!("{}s", duration.as_millis().div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_in_quarantine_is_explained() {
        let why: Answer = serde_json::from_value(serde_json::json!({
            "session": "0123456789abcdef",
            "name": "web",
            "summary": "it is quarantined: the plugin's `inspect` faulted 2 times in a row about it",
            "desired": "running",
            "observed": {
                "state": "unknown", "last_state": "running", "incarnation": 3,
                "at": "2026-11-22T01:00:00.000Z",
                "by": {"kind": "full", "number": 17, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}, "reason": "the plugin's `inspect` trapped: unreachable"
            },
            "act": {"act": {"stop": {"signal": "SIGTERM", "kill_at": "2026-11-22T01:00:15.000Z"}}, "incarnation": 3,
                "since": "2026-11-22T01:00:05.000Z"},
            "probes": [
                {"probe": "liveness", "result": "failed", "at": "2026-11-22T01:00:04.000Z", "message": "HTTP status 503",
                    "successes": 0, "failures": 2},
                {"probe": "health_check", "result": "passed", "at": "2026-11-22T01:00:01.000Z", "successes": 5,
                    "failures": 0}
            ],
            "last_check": {"at": "2026-11-22T01:00:02.000Z", "code": 1, "output": "no route"},
            "retry": {"failed": 2, "at": "2026-11-22T01:00:12.000Z"},
            "exit": {"code": 1, "oom": false},
            "restart": {"policy": "on-failure:5", "restarts": 2, "failures": 2, "left": 3,
                "budget": {"restarts": 10, "within": "1h"}, "budget_left": 8},
            "quarantine": [{"function": "inspect", "session": "0123456789abcdef", "faults": 2, "left": "4s 1ms",
                "reason": "trapped\u{1b}[2J"}],
            "backend": {"name": "docker", "known": {
                "health": "healthy",
                "swept_at": "2026-11-22T01:00:08.000Z",
                "bulkhead": {
                    "breaker": {"state": "open", "lasted": "12s", "retry_after": "18s", "failures": 0, "opens_at": 5,
                        "last_failure": {"function": "list", "reason": "the engine is away"}},
                    "permits": {
                        "calls": {"permits": 20, "in_flight": 20, "queued": 3, "refused": 7},
                        "long": {"permits": 4, "in_flight": 0, "queued": 0, "refused": 0},
                        "probes": {"permits": 1, "in_flight": 1, "queued": 0, "refused": 0},
                        "streams": {"permits": 200, "in_flight": 2, "queued": 0, "refused": 0}
                    },
                    "host": {"permits": 125, "in_flight": 20, "queued": 0, "refused": 0}
                }
            }},
            "errors": [{"at": "2026-11-22T01:00:09.000Z", "times": 2, "function": "inspect", "message": "trapped",
                "trace_id": "00f067aa0ba902b74bf92f3577b34da6"}]
        }))
        .unwrap();
        let now = "2026-11-22T01:00:10.000Z";
        let now: Timestamp = serde_json::from_value(now.into()).unwrap();
        insta::assert_snapshot!(describe(&why, now));
    }
}
