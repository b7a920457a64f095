//! `run --attach`: what a session writes, until it is over for good; signals are passed on to it.
//!
//! It reads each incarnation from its beginning. That the session goes on does not depend on it.

use std::future::poll_fn;
use std::task::Poll;

use reqwest::Method;
use seawall_model::{Session, Signal};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

use super::logs::copy;
use super::sessions::ended;
use super::{Global, report};
use crate::api::Until;
use crate::client::Client;
use crate::exit::Failure;
use crate::problem::Kind;

/// Those that a terminal or another program sends to whoever runs something.
const PASSED_ON: [&str; 6] = ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"];
/// So many INT or TERM end the command, as in Docker, whatever the session does.
const PATIENCE: u32 = 3;

/// Listens for signals from its making on, so that none that comes early ends the command alone.
pub(super) struct Attached {
    listeners: Vec<(Signal, Listener)>,
}

impl Attached {
    /// Begins to listen.
    pub(super) fn listen() -> Result<Self, Failure> {
        let mut listeners = Vec::new();
        for name in PASSED_ON {
            let signal_of = name.parse::<Signal>().map_err(anyhow::Error::from)?;
            let listener = signal(SignalKind::from_raw(signal_of.number().into())).map_err(anyhow::Error::from)?;
            listeners.push((signal_of, listener));
        }
        Ok(Self { listeners })
    }

    /// Shows what the session writes, and gives its exit code.
    pub(super) async fn follow(mut self, global: &Global, client: &Client, session: &Session) -> Result<u8, Failure> {
        let id = session.id.as_str();
        tokio::select! {
            // Nothing is waited for any more once one of them has ended.
            code = follow(client, id) => code,
            left = self.pass_on(global, client, session) => left,
        }
    }

    async fn pass_on(&mut self, global: &Global, client: &Client, session: &Session) -> Result<u8, Failure> {
        let mut patience = PATIENCE;
        loop {
            let signal = self.next().await;
            if matches!(signal.to_string().as_str(), "SIGINT" | "SIGTERM") {
                patience -= 1;
            }
            if patience == 0 {
                let name = &session.name;
                return Err(Failure::Session(format!("session {name} goes on; `seawall kill {name}` ends it")));
            }
            let query = [("signal", signal.to_string())];
            if let Err(failure) = client.send(Method::POST, &["sessions", session.id.as_str(), "kill"], &query).await {
                report(global, &failure);
            }
        }
    }

    async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, listener) in &mut self.listeners {
                if listener.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

async fn follow(client: &Client, id: &str) -> Result<u8, Failure> {
    let removed = || Failure::Session(format!("session {id} was removed meanwhile"));
    let mut seen = 0;
    loop {
        let session = client.wait_after(id, Until::Running, seen, None).await?.ok_or_else(removed)?;
        seen = session.incarnation;
        read(client, id).await?;
        tokio::select! {
            over = client.wait(id, Until::Ended, None) => {
                let over = over?.ok_or_else(removed)?;
                if over.incarnation == seen {
                    return ended(&over);
                }
            }
            // Of one that is gone the other one knows more.
            Ok(Some(_)) = client.wait_after(id, Until::Running, seen, None) => {}
        }
    }
}

/// Copies what an incarnation writes until it ends. A backend that keeps no logs has none to show, and one that is gone
/// neither.
async fn read(client: &Client, id: &str) -> Result<(), Failure> {
    let query = [("follow", true.to_string())];
    match client.send(Method::GET, &["sessions", id, "logs"], &query).await {
        Ok(response) => copy(client, response).await,
        Err(Failure::Daemon(problem))
            if matches!(problem.kind, Kind::Unsupported | Kind::NotFound | Kind::Conflict) =>
        {
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}
