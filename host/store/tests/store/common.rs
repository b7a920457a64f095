//! What the tests of the store share.

use seawall_model::{Desired, Exit, Health, Secret, SessionId, SessionSpec, SessionState, Timestamp};
use seawall_store::{Act, Event, Intent, SessionRecord};

/// A session with every field set.
pub(crate) fn session(name: &str) -> SessionRecord {
    let mut spec = SessionSpec::new("docker".parse().unwrap());
    spec.command = vec!["sleep".to_owned(), "ü\n\"'; DROP TABLE sessions".to_owned()];
    spec.env.insert("PASSWORD".to_owned(), Secret::new("s3cret"));
    let at = Timestamp::from_millis(1_700_000_000_123);
    SessionRecord {
        id: SessionId::random(),
        name: name.parse().unwrap(),
        spec,
        desired: Desired::Running,
        incarnation: 3,
        restarts: u64::MAX,
        failures: 7,
        state: SessionState::Restarting,
        health: Health::Unhealthy,
        started: true,
        ready: true,
        exit: Some(Exit { code: Some(1), at: Some(at), message: Some("no".to_owned()), ..Exit::default() }),
        handle: Some(vec![0, 255, 1]),
        created_at: at,
        started_at: Some(at),
        finished_at: None,
        restart_at: Some(at),
        restarted: vec![at],
        reason: Some("backing off".to_owned()),
    }
}

/// An event.
pub(crate) fn event(message: &str) -> Event {
    Event {
        id: 0,
        at: Timestamp::now(),
        kind: "session.started".to_owned(),
        session: Some(SessionId::random()),
        name: Some("web".parse().unwrap()),
        backend: Some("docker".parse().unwrap()),
        incarnation: Some(1),
        message: message.to_owned(),
        trace_id: Some(seawall_model::TraceId::random()),
        actor: Some("uid 1000".to_owned()),
    }
}

/// An intent of a session.
pub(crate) fn intent(session: &SessionRecord, act: Act) -> Intent {
    Intent { session: session.id.clone(), incarnation: session.incarnation, act, since: session.created_at }
}
