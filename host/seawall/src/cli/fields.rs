//! The fields of a session that `--format` knows, by Docker's names where it has them.

use std::time::Duration;

use seawall_model::{Exit, Health, Session, SessionState, Timestamp};

use super::format::{age, port, state, what};
use super::sessions::health;

/// Their names; `json` is the whole of it.
pub(super) const FIELDS: &[&str] = &[
    "ID",
    "Name",
    "Names",
    "Backend",
    "State",
    "Status",
    "Health",
    "Ready",
    "Restarts",
    "Incarnation",
    "Age",
    "RunningFor",
    "CreatedAt",
    "Image",
    "Command",
    "Labels",
    "Ports",
    "Exit",
    "Reason",
    "json",
];

/// One of them, of a session.
pub(super) fn value(field: &str, session: &Session, now: Timestamp, short: bool) -> String {
    let spec = &session.spec;
    match field {
        "ID" if short => session.id.short().to_owned(),
        "ID" => session.id.to_string(),
        "Name" | "Names" => session.name.to_string(),
        "Backend" => session.backend.to_string(),
        "State" => state(session),
        "Status" => status(session, now),
        "Health" => health(session),
        "Ready" => session.ready.to_string(),
        "Restarts" => session.restarts.to_string(),
        "Incarnation" => session.incarnation.to_string(),
        "Age" => age(now, session.created_at),
        "RunningFor" => format!("{} ago", roughly(now.since(session.created_at))),
        "CreatedAt" => session.created_at.to_string(),
        "Image" => spec.image.clone().unwrap_or_default(),
        "Command" => what(session, short),
        "Labels" => spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","),
        "Ports" => spec.ports.iter().map(port).collect::<Vec<_>>().join(", "),
        "Exit" => session.exit.as_ref().map(ToString::to_string).unwrap_or_default(),
        "Reason" => session.reason.clone().unwrap_or_default(),
        "json" => json(session),
        _ => String::new(),
    }
}

/// All of it in one line, as the API has it.
pub(super) fn json(session: &Session) -> String {
    // Plain data: it cannot fail.
    serde_json::to_string(session).unwrap_or_default()
}

/// The state in Docker's words: `Up 2 hours (healthy)`, `Exited (1) 3 minutes ago`.
fn status(session: &Session, now: Timestamp) -> String {
    let since = |at: Option<Timestamp>| at.map(|at| roughly(now.since(at)));
    let up = || since(session.started_at).map_or_else(|| "Up".to_owned(), |long| format!("Up {long}"));
    let code = || session.exit.as_ref().and_then(Exit::shell_code).map_or("?".to_owned(), |code| code.to_string());
    let ended = |word: &str| match since(session.finished_at) {
        Some(long) => format!("{word} ({}) {long} ago", code()),
        None => format!("{word} ({})", code()),
    };
    match session.state {
        SessionState::Running => match session.health {
            Health::Healthy => format!("{} (healthy)", up()),
            Health::Unhealthy => format!("{} (unhealthy)", up()),
            Health::Starting => format!("{} (health: starting)", up()),
            Health::Unknown => up(),
        },
        SessionState::Paused => format!("{} (Paused)", up()),
        SessionState::Restarting => ended("Restarting"),
        // It never ran.
        SessionState::Stopped | SessionState::Failed | SessionState::Lost if session.finished_at.is_none() => {
            capital(&session.state.to_string())
        }
        SessionState::Stopped | SessionState::Failed | SessionState::Lost => ended("Exited"),
        SessionState::Pending | SessionState::Created | SessionState::Unknown => capital(&state(session)),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A length of time as Docker says it.
fn roughly(long: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = long.as_secs();
    let hours = (seconds + HOUR / 2) / HOUR;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE => format!("{seconds} seconds"),
        _ if seconds < 2 * MINUTE => "About a minute".to_owned(),
        _ if seconds < HOUR => format!("{} minutes", seconds / MINUTE),
        _ if hours <= 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", seconds / DAY),
        _ if hours < 24 * 60 => format!("{} weeks", seconds / (7 * DAY)),
        _ if hours < 24 * 365 * 2 => format!("{} months", seconds / (30 * DAY)),
        _ => format!("{} years", seconds / (365 * DAY)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::session;
    use super::*;

    #[test]
    fn lengths_of_time_are_said_as_docker_does() {
        let said = [0, 1, 59, 60, 120, 3599, 3600, 5400, 47 * 3600, 48 * 3600, 14 * 86_400, 60 * 86_400, 800 * 86_400]
            .map(|seconds| roughly(Duration::from_secs(seconds)));
        let docker = [
            "Less than a second",
            "1 second",
            "59 seconds",
            "About a minute",
            "2 minutes",
            "59 minutes",
            "About an hour",
            "2 hours",
            "47 hours",
            "2 days",
            "2 weeks",
            "2 months",
            "2 years",
        ];
        assert_eq!(said, docker);
    }

    #[test]
    fn every_state_has_a_status_and_every_field_a_value() {
        let now: Timestamp = "2026-01-01T00:00:31Z".parse().unwrap();
        let said = SessionState::ALL.map(|state| {
            let session = session(|session| {
                session.state = state;
                session.finished_at = state.is_final().then_some(now);
            });
            format!("{state}: {}", status(&session, now))
        });
        insta::assert_snapshot!(said.join("\n"));
        let all = session(|session| {
            session.spec.labels.insert("a".to_owned(), "b".to_owned());
            session.spec.ports = vec![serde_json::from_value(serde_json::json!({"container": 80})).unwrap()];
            session.exit = Some(Exit { code: Some(3), ..Exit::default() });
            session.reason = Some("why".to_owned());
        });
        let without: Vec<_> = FIELDS.iter().filter(|field| value(field, &all, now, true).is_empty()).collect();
        assert!(without.is_empty(), "{without:?}");
    }
}
