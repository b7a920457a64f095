//! The logic as a backend of Seawall's.

use peers_logic as logic;
use seawall_sdk::{Backend, Error, Exit, Found, Health, Info, Key, Page, Report, Result, Spec, State, Status};

struct Peer;

seawall_sdk::export!(Peer);

fn unsupported<T>() -> Result<T> {
    Err(Error::Unsupported("this backend is there to be measured".to_owned()))
}

fn found((position, key): (u32, Key)) -> Found {
    if key.incarnation == logic::HOLD {
        logic::spin();
    }
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
    let (created_at, started_at) = (Some(status.created_at), Some(status.started_at));
    Found { position, status: Status { state, health, exit, created_at, started_at, handle: Some(status.handle) } }
}

impl Backend for Peer {
    fn describe() -> Info {
        Info {
            name: "peer".to_owned(),
            version: "0.1.0".to_owned(),
            description: "Is measured beside other plugin systems".to_owned(),
            config_schema: String::new(),
            options_schema: String::new(),
        }
    }

    fn check() -> Result<Report> {
        let attributes = logic::ATTRIBUTES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Report { version: logic::VERSION.to_owned(), attributes: attributes.into() })
    }

    fn inspect(keys: Vec<Key>) -> Result<Vec<Found>> {
        Ok((0..).zip(keys).map(found).collect())
    }

    fn create(_: Spec) -> Result<Status> {
        unsupported()
    }

    fn start(_: Key) -> Result<Status> {
        unsupported()
    }

    fn signal(_: Key, _: u32) -> Result<()> {
        unsupported()
    }

    fn remove(_: Key, _: bool) -> Result<()> {
        unsupported()
    }

    fn list(_: Option<String>) -> Result<Page> {
        unsupported()
    }
}
