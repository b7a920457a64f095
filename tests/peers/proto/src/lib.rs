//! The messages of `proto/backend.proto`, and the logic in their words: what the plugins over gRPC and in Extism share.

mod generated {
    include!(concat!(env!("OUT_DIR"), "/seawall.peers.rs"));
}

pub use generated::*;
use peers_logic as logic;

/// Whether a key asks for a call that does not end.
pub fn holds(request: &InspectRequest) -> bool {
    request.keys.iter().any(|key| key.incarnation == logic::HOLD)
}

/// The answer to `check`.
pub fn report() -> Report {
    let attributes =
        logic::ATTRIBUTES.map(|(name, value)| Attribute { name: name.to_owned(), value: value.to_owned() });
    Report { version: logic::VERSION.to_owned(), attributes: attributes.into() }
}

/// The answer to `inspect`.
pub fn inspect(request: &InspectRequest) -> InspectReply {
    InspectReply { found: (0..).zip(&request.keys).map(|(position, key)| found(position, key)).collect() }
}

fn found(position: u32, key: &Key) -> Found {
    let asked = logic::Key { session: &key.session, incarnation: key.incarnation, handle: key.handle.as_deref() };
    let status = logic::status(asked);
    let state = match status.state {
        logic::State::Running => State::Running,
        logic::State::Exited => State::Exited,
    };
    let health = match status.health {
        logic::Health::Healthy => Health::Healthy,
        logic::Health::Unhealthy => Health::Unhealthy,
        logic::Health::Unknown => Health::Unknown,
    };
    let exit = status.exit.map(|exit| Exit {
        code: Some(exit.code),
        signal: None,
        oom_killed: exit.oom_killed,
        message: Some(exit.message),
        at: Some(exit.at),
    });
    let status = Status {
        state: state.into(),
        health: health.into(),
        exit,
        created_at: Some(status.created_at),
        started_at: Some(status.started_at),
        handle: Some(status.handle),
    };
    Found { position, status: Some(status) }
}
