//! Commands about sessions that exist: `start stop rm wait down`.
//!
//! Those that take several sessions go on after one that failed and end with the code of the first failure.

use std::str::FromStr as _;
use std::time::Duration;

use clap::Args;
use reqwest::Method;
use seawall_model::{Exit, Session, SessionSpec, SessionState};

use super::{Global, say};
use crate::api::{Downed, Until};
use crate::client::Client;
use crate::exit::Failure;

/// Only what runs has a health worth showing.
pub(super) fn health(session: &Session) -> String {
    match session.state {
        SessionState::Running | SessionState::Unknown => word(&session.health),
        _ => "-".to_owned(),
    }
}

/// The word that a plain enum serialises as.
pub(crate) fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "-".to_owned(),
    }
}

/// `start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Ids, beginnings of ids (4 digits or more), or names
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
    /// Return as soon as it is wanted, before it runs
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until it runs
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

impl Start {
    /// Starts each and waits until it runs or a try failed.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        each(global, &self.sessions, async |id| {
            let response = client.send(Method::POST, &["sessions", id, "start"], &[]).await?;
            let session: Session = client.json(response).await?;
            if self.no_wait {
                return Ok(());
            }
            settled(id, client.wait(session.id.as_str(), Until::Settled, self.timeout).await?)
        })
        .await
    }
}

/// What came of a start: of a session that was named so, and is there no more if it was removed.
pub(super) fn settled(id: &str, session: Option<Session>) -> Result<(), Failure> {
    let Some(session) = session else {
        return Err(Failure::Session(format!("session {id} was removed meanwhile")));
    };
    let reason = session.reason.clone().unwrap_or_default();
    match session.state {
        SessionState::Failed | SessionState::Lost if session.started_at.is_none() => {
            Err(Failure::Session(format!("session {} failed: {reason}", session.name)))
        }
        SessionState::Pending | SessionState::Created | SessionState::Unknown => Err(Failure::Pending(format!(
            "session {} is not running yet: {reason}; Seawall goes on trying",
            session.name
        ))),
        _ => Ok(()),
    }
}

/// `stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Ids, beginnings of ids (4 digits or more), or names
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
    /// How long after the stop signal it is killed, such as 30s; a number alone is seconds. Default: as it was made, 10s
    /// if nothing was said
    #[arg(short, long, visible_short_alias = 't', visible_alias = "time", value_name = "DURATION", value_parser = seconds)]
    grace: Option<Duration>,
    /// Return as soon as it is wanted, before it is over
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until it is over. Default: a minute more than its grace
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

impl Stop {
    /// Stops all of them at once, then waits for each.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let mut asked = ask_all(client, &self.sessions, "stop", self.grace).await.into_iter();
        each(global, &self.sessions, async |_| {
            let Some(asked) = asked.next() else { return Ok(()) };
            let session = asked?;
            if !self.no_wait {
                let patience = patience(self.grace.or(session.spec.stop_grace));
                client.wait(session.id.as_str(), Until::Ended, self.timeout.or(Some(patience))).await?;
            }
            Ok(())
        })
        .await
    }
}

/// A duration with its unit, or a number of seconds, as Docker's users write it.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}: write 30s, or 30 for seconds"))
}

/// A backend that cannot be asked leaves a session as it is: nobody is kept waiting for that.
pub(super) fn patience(grace: Option<Duration>) -> Duration {
    Duration::from_secs(60).saturating_add(grace.unwrap_or(SessionSpec::STOP_GRACE))
}

/// Asks the same of all of them at once, and gives the answers in their order.
pub(super) async fn ask_all(
    client: &Client,
    sessions: &[String],
    act: &str,
    grace: Option<Duration>,
) -> Vec<Result<Session, Failure>> {
    let query = self::grace(grace);
    futures_util::future::join_all(sessions.iter().map(async |id| {
        let response = client.send(Method::POST, &["sessions", id, act], &query).await?;
        client.json(response).await
    }))
    .await
}

pub(super) fn grace(grace: Option<Duration>) -> Vec<(&'static str, String)> {
    grace.map(|grace| ("grace", humantime::format_duration(grace).to_string())).into_iter().collect()
}

/// `rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Ids, beginnings of ids (4 digits or more), or names
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
    /// Kill it if it runs
    #[arg(short, long)]
    force: bool,
    /// Have the host kill and remove it by its own hand: its plugin is broken, and is not asked
    #[arg(long)]
    break_glass: bool,
    /// Forget it even if the host cannot reach what is left of it
    #[arg(long, requires = "break_glass")]
    forget: bool,
    /// Return as soon as it is wanted, before it is gone
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until it is gone. Default: a minute
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

impl Rm {
    /// Removes each and waits until it is gone.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        each(global, &self.sessions, async |id| {
            // A name may be taken again as soon as it is free: wait by the id.
            let session = client.session(id).await?;
            let id = session.id.as_str();
            let flags = [("force", self.force), ("break_glass", self.break_glass), ("forget", self.forget)];
            let query: Vec<_> =
                flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name, true.to_string())).collect();
            client.send(Method::DELETE, &["sessions", id], &query).await?;
            if !self.no_wait {
                client.wait(id, Until::Removed, self.timeout.or(Some(patience(Some(Duration::ZERO))))).await?;
            }
            Ok(())
        })
        .await
    }
}

/// Does one thing to each, prints each that it was done to, and goes on after a failure.
pub(super) async fn each(
    global: &Global,
    sessions: &[String],
    mut act: impl AsyncFnMut(&str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut first = None;
    let mut done = Vec::new();
    for id in sessions {
        match act(id).await {
            Ok(()) if global.json => done.push(id),
            Ok(()) => say(&format!("{id}\n"))?,
            Err(failure) if first.is_none() => first = Some(failure),
            Err(failure) => super::report(global, &failure),
        }
    }
    if global.json {
        global.show(&done, |_| String::new())?;
    }
    first.map_or(Ok(0), Err)
}

/// `wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Ids, beginnings of ids (4 digits or more), or names
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
    /// What to wait for: ended, running, settled, ready, healthy, unhealthy, removed, or a state
    #[arg(long = "for", value_name = "WHAT", default_value = "ended", value_parser = Until::from_str, hide_default_value = true)]
    until: Until,
    /// How long to wait
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

impl Wait {
    /// Waits for all of them at once. For the end, it prints the code of each, and gives that of the first that is not 0;
    /// for anything else, it fails if one of them is over and can no longer become so.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let waited = futures_util::future::join_all(self.sessions.iter().map(async |id| {
            // A name may be taken again as soon as it is free: wait by the id.
            let session = client.session(id).await?;
            client.wait(session.id.as_str(), self.until, self.timeout).await
        }))
        .await;
        let (mut code, mut failures, mut documents) = (0, Vec::new(), Vec::new());
        for (id, waited) in self.sessions.iter().zip(waited) {
            let judged = waited.and_then(|session| {
                documents.extend(session.clone());
                self.judge(id, session)
            });
            match judged {
                Ok(Some(ended)) => {
                    code = if code == 0 { ended } else { code };
                    if !global.json {
                        say(&format!("{ended}\n"))?;
                    }
                }
                Ok(None) => {}
                Err(failure) => failures.push(failure),
            }
        }
        if global.json {
            match (self.sessions.as_slice(), documents.as_slice()) {
                ([_], [session]) => global.show(session, |_| String::new())?,
                ([_], _) => {}
                (_, several) => global.show(&several, |_| String::new())?,
            }
        }
        let mut failures = failures.into_iter();
        let first = failures.next();
        failures.for_each(|failure| super::report(global, &failure));
        first.map_or(Ok(code), Err)
    }

    /// What came of it; the exit code, if the end was waited for.
    fn judge(&self, id: &str, session: Option<Session>) -> Result<Option<u8>, Failure> {
        let Some(session) = session else {
            return match self.until {
                Until::Removed => Ok(None),
                _ => Err(Failure::Session(format!("session {id} was removed meanwhile"))),
            };
        };
        if self.until == Until::Ended {
            return ended(&session).map(Some);
        }
        if self.until.is_so(&session) {
            return Ok(None);
        }
        let why = why(&session).map(|why| format!(" ({why})")).unwrap_or_default();
        let wanted = self.until.as_str();
        Err(Failure::Session(format!("session {} is {}{why}, and was never {wanted}", session.name, session.state)))
    }
}

/// The exit code of one that is over.
pub(super) fn ended(session: &Session) -> Result<u8, Failure> {
    match (session.exit.as_ref().and_then(Exit::shell_code), session.state) {
        (Some(code), _) => Ok(code),
        // It was stopped before it ever ran.
        (None, SessionState::Stopped) if session.exit.is_none() => Ok(0),
        (None, state) => {
            let why = why(session).unwrap_or_else(|| "nobody can say how it ended".to_owned());
            Err(Failure::Session(format!("session {} is {state}: {why}", session.name)))
        }
    }
}

fn why(session: &Session) -> Option<String> {
    session.reason.clone().or_else(|| session.exit.as_ref().map(ToString::to_string))
}

/// `down`.
#[derive(Debug, Args)]
pub(crate) struct Down {
    /// How long after its stop signal a session is killed. Default: as each was made
    #[arg(short, long, visible_short_alias = 't', visible_alias = "time", value_name = "DURATION", value_parser = seconds)]
    grace: Option<Duration>,
    /// How long to wait until all are over. Default: a minute more than the grace
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

impl Down {
    /// Stops every session and waits for each.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let response = client.send(Method::POST, &["down"], &grace(self.grace)).await?;
        let downed: Downed = client.json(response).await?;
        let timeout = self.timeout.unwrap_or_else(|| patience(self.grace));
        let waits = downed.sessions.iter().map(|id| client.wait(id.as_str(), Until::Ended, Some(timeout)));
        let waited = futures_util::future::join_all(waits).await;
        // What was done is shown before what was not.
        let not_over: Vec<Failure> = waited.into_iter().filter_map(Result::err).collect();
        let over = downed.sessions.len() - not_over.len();
        global.show(&downed, |_| match over {
            0 if not_over.is_empty() => "no session was running\n".to_owned(),
            1 => "1 session stopped\n".to_owned(),
            many => format!("{many} sessions stopped\n"),
        })?;
        let mut first = None;
        for failure in not_over {
            match first {
                None => first = Some(failure),
                Some(_) => super::report(global, &failure),
            }
        }
        first.map_or(Ok(0), Err)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One to be shown.
    pub(in crate::cli) fn session(edit: impl FnOnce(&mut Session)) -> Session {
        let mut session: Session = serde_json::from_value(serde_json::json!({
            "id": "0123456789abcdef", "name": "web", "backend": "docker", "desired": "running", "state": "running",
            "health": "healthy", "exit": null, "incarnation": 2, "restarts": 1,
            "created_at": "2026-01-01T00:00:00Z", "started_at": "2026-01-01T00:00:01Z", "finished_at": null,
            "spec": {"backend": "docker", "image": "busybox", "command": ["sleep", "1000"],
                     "env": {"TOKEN": "[redacted]"}, "resources": {"memory": "64MiB"}},
        }))
        .unwrap();
        edit(&mut session);
        session
    }

    #[test]
    fn a_number_alone_is_seconds() {
        assert_eq!(seconds("3"), Ok(Duration::from_secs(3)));
        assert_eq!(seconds("3m"), Ok(Duration::from_secs(180)));
        assert!(seconds("-1").unwrap_err().contains("30s"));
    }
}
