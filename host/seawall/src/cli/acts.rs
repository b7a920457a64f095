//! `kill`, `restart`, `pause` and `unpause`.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use seawall_model::{Session, Signal};

use super::Global;
use super::sessions::{ask_all, each, patience, seconds, settled};
use crate::api::Until;
use crate::client::Client;
use crate::exit::Failure;

/// `kill`.
#[derive(Debug, Args)]
#[command(after_help = "\
KILL, TERM, INT, QUIT and the session's own stop signal ask it to end: it is wanted stopped from then on, and its restart
policy does not start it again. Only KILL makes sure that it ends; `seawall stop` sends KILL after a grace. Any other signal,
such as HUP, changes nothing that is wanted: what follows from it is up to the session and its policy.")]
pub(crate) struct Kill {
    /// Ids, beginnings of ids (4 digits or more), or names
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
    /// What is sent: a name such as HUP or SIGHUP, or a number
    #[arg(short, long, default_value_t = Signal::KILL)]
    signal: Signal,
    /// After KILL, return before the session is over
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until it is over. Default: a minute
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

impl Kill {
    /// Sends each the signal; after KILL, waits until it is over.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let query = [("signal", self.signal.to_string())];
        each(global, &self.sessions, async |id| {
            let response = client.send(Method::POST, &["sessions", id, "kill"], &query).await?;
            let session: Session = client.json(response).await?;
            if self.signal == Signal::KILL && !self.no_wait {
                let timeout = self.timeout.unwrap_or_else(|| patience(Some(Duration::ZERO)));
                client.wait(session.id.as_str(), Until::Ended, Some(timeout)).await?;
            }
            Ok(())
        })
        .await
    }
}

/// `restart`.
#[derive(Debug, Args)]
#[command(after_help = "\
A session that is over is started; one that is about to run anyway is left alone. The restart policy has no say in it, and
its count of restarts and of failures is not raised.")]
pub(crate) struct Restart {
    /// Ids, beginnings of ids (4 digits or more), or names
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
    /// How long after the stop signal it is killed, such as 30s; a number alone is seconds. Default: as it was made, 10s
    /// if nothing was said
    #[arg(short, long, visible_short_alias = 't', visible_alias = "time", value_name = "DURATION", value_parser = seconds)]
    grace: Option<Duration>,
    /// Return as soon as it is wanted, before it runs again
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until it runs again. Default: a minute more than its grace
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

impl Restart {
    /// Restarts all of them at once, then waits until each runs again or a try failed.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let mut asked = ask_all(client, &self.sessions, "restart", self.grace).await.into_iter();
        each(global, &self.sessions, async |id| {
            let Some(asked) = asked.next() else { return Ok(()) };
            let session = asked?;
            if self.no_wait {
                return Ok(());
            }
            let timeout = self.timeout.unwrap_or_else(|| patience(self.grace.or(session.spec.stop_grace)));
            let after = session.outgoing();
            settled(id, client.wait_after(session.id.as_str(), Until::Settled, after, Some(timeout)).await?)
        })
        .await
    }
}

/// `pause`.
#[derive(Debug, Args)]
#[command(after_help = "\
Its processes stand still and keep what they have: memory, files, connections. While it is paused no probe of it counts and
its restart policy leaves it alone. `seawall stop` lets it run on, so that it can end; `seawall kill` and `rm -f` end it as it
is.")]
pub(crate) struct Pause {
    /// Ids, beginnings of ids (4 digits or more), or names
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
}

impl Pause {
    /// Pauses each.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        act(global, client, &self.sessions, "pause").await
    }
}

/// `unpause`.
#[derive(Debug, Args)]
pub(crate) struct Unpause {
    /// Ids, beginnings of ids (4 digits or more), or names
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
}

impl Unpause {
    /// Lets each run on.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        act(global, client, &self.sessions, "unpause").await
    }
}

/// Asks the same of each; it is done when the daemon answers.
async fn act(global: &Global, client: &Client, sessions: &[String], act: &str) -> Result<u8, Failure> {
    each(global, sessions, async |id| client.send(Method::POST, &["sessions", id, act], &[]).await.map(drop)).await
}
