//! (a) The logic behind the trait, in the host itself: what no isolation at all would cost.

use anyhow::Result;
use async_trait::async_trait;
use peers_logic as logic;
use seawall_backend::{Error, ExecutionBackend, Info};
use seawall_model::{
    Exit, Found, Health, Inspection, Key, Page, Report, SessionName, SessionSpec, Signal, State, Status, Timestamp,
};

use crate::peer::Peer;

/// The backend.
#[derive(Debug)]
pub(crate) struct Native(Info);

impl Native {
    pub(crate) fn new() -> Self {
        let text = |text: &str| text.to_owned();
        Self(Info {
            name: text("peer"),
            version: text("0.1.0"),
            description: text("Is measured beside other plugin systems"),
            config_schema: String::new(),
            options_schema: String::new(),
            interfaces: Vec::new(),
        })
    }
}

fn unsupported<T>() -> Result<T, Error> {
    Err(Error::Unsupported("this backend is there to be measured".to_owned()))
}

fn found((position, key): (usize, &Key)) -> Found {
    let (session, handle) = (key.session.as_str(), key.handle.as_deref());
    let status = logic::status(logic::Key { session, incarnation: key.incarnation, handle });
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
        code: u8::try_from(exit.code).ok(),
        signal: None,
        oom: exit.oom_killed,
        message: Some(exit.message),
        at: Some(Timestamp::from_millis(exit.at)),
    });
    let created_at = Some(Timestamp::from_millis(status.created_at));
    let started_at = Some(Timestamp::from_millis(status.started_at));
    Found { position, status: Status { state, health, exit, created_at, started_at, handle: Some(status.handle) } }
}

#[async_trait]
impl ExecutionBackend for Native {
    fn info(&self) -> &Info {
        &self.0
    }

    async fn check(&self) -> Result<Report, Error> {
        let attributes = logic::ATTRIBUTES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Report { version: logic::VERSION.to_owned(), attributes: attributes.into() })
    }

    async fn inspect(&self, keys: &[Key]) -> Result<Inspection, Error> {
        Ok(Inspection { found: keys.iter().enumerate().map(found).collect(), unknown: Vec::new() })
    }

    async fn create(&self, _: &Key, _: &SessionName, _: &SessionSpec) -> Result<Status, Error> {
        unsupported()
    }

    async fn start(&self, _: &Key) -> Result<Status, Error> {
        unsupported()
    }

    async fn signal(&self, _: &Key, _: Signal) -> Result<(), Error> {
        unsupported()
    }

    async fn remove(&self, _: &Key, _: bool) -> Result<(), Error> {
        unsupported()
    }

    async fn list(&self, _: Option<&str>) -> Result<Page, Error> {
        unsupported()
    }
}

/// Any backend is a road: (a) this one, (c) that of Seawall's.
pub(crate) struct Through<B>(pub(crate) B);

#[async_trait]
impl<B: ExecutionBackend> Peer for Through<B> {
    async fn check(&self) -> Result<()> {
        std::hint::black_box(self.0.check().await?);
        Ok(())
    }

    async fn inspect(&self, keys: &[Key]) -> Result<usize> {
        let inspection = std::hint::black_box(self.0.inspect(keys).await?);
        Ok(inspection.found.len())
    }
}
