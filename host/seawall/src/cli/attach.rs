//! `attach` and `run --attach`: what a session writes, until it is over for good; signals are passed on to it.
//!
//! `run --attach` reads each incarnation from its beginning, out of its log. That the session goes on depends on neither.

use std::future::poll_fn;
use std::task::Poll;

use clap::Args;
use reqwest::Method;
use seawall_model::{Incarnation, Session, Signal};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

use super::conversation::{Conversation, Outcome};
use super::logs::copy;
use super::sessions::ended;
use super::terminal::{self, DetachKeys};
use super::{Global, report};
use crate::api::{Attaching, ScreenSize};
use crate::client::Client;
use crate::exit::Failure;
use crate::problem::Kind;

/// `attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Only show what it writes
    #[arg(long, visible_alias = "no-input")]
    no_stdin: bool,
    /// Pass no signals on to it: they end this command
    #[arg(long)]
    no_signals: bool,
    /// The keys that leave a session with a terminal
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// An id, the beginning of one (4 digits or more), or a name
    #[arg(value_name = "SESSION")]
    session: String,
}

impl Attach {
    /// Until the session is over, whose exit code is passed on, or the keys are typed.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        if global.json {
            let message = "what a session writes is bytes: there is no --json of them";
            return Err(Failure::Usage(message.to_owned()));
        }
        let session = client.session(&self.session).await?;
        let with = With { stdin: session.spec.stdin && !self.no_stdin, keys: self.detach_keys, from_start: false };
        // In a terminal of its own the keys make the signals there.
        let signals = !(self.no_signals || session.spec.tty && with.stdin);
        let attached = signals.then(Attached::listen).transpose()?;
        with.hold(global, client, &session, attached).await
    }
}

/// How to attach to a session.
pub(super) struct With {
    /// What is read here goes there.
    pub(super) stdin: bool,
    /// What leaves it.
    pub(super) keys: DetachKeys,
    /// It was made for this: what it wrote before is shown too.
    pub(super) from_start: bool,
}

impl With {
    /// Until it is over.
    pub(super) async fn hold(
        self,
        global: &Global,
        client: &Client,
        session: &Session,
        attached: Option<Attached>,
    ) -> Result<u8, Failure> {
        let passed_on = async {
            match attached {
                Some(mut attached) => attached.pass_on(global, client, session).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Nothing is waited for any more once one of them has ended.
            code = self.until_over(global, client, session) => code,
            left = passed_on => left,
        }
    }

    async fn until_over(&self, global: &Global, client: &Client, session: &Session) -> Result<u8, Failure> {
        let (id, tty) = (session.id.as_str(), session.spec.tty);
        let removed = || Failure::Session(format!("session {} was removed meanwhile", session.name));
        let (mut seen, mut from_start) = (session.incarnation, self.from_start);
        let mut drawn = !self.from_start;
        loop {
            let size = if tty { terminal::size() } else { None };
            // A program that fills the screen draws it again when the size changes: to what it is, right afterwards.
            let taller = u16::from(drawn);
            let size = size.map(|size| ScreenSize { rows: size.rows.saturating_add(taller), ..size });
            let how = Attaching { stdin: self.stdin, size, ..Attaching::default() };
            let stream = match client.converse(&["sessions", id, "attach"], &how).await {
                // It was over too soon: its log has what it wrote.
                Err(Failure::Daemon(problem)) if problem.kind == Kind::Conflict && from_start => {
                    read(client, id, seen).await?;
                    None
                }
                stream => stream?,
            };
            if let Some(stream) = stream {
                let conversation =
                    Conversation { stdin: self.stdin, tty, keys: Some(self.keys.clone()), listeners: None };
                if let Outcome::Detached = conversation.hold(global, client, stream).await? {
                    let words = format!("\nleft session {}, which goes on\n", session.name);
                    super::say(&words)?;
                    return Ok(0);
                }
            }
            let now = client.wait_past(id, seen).await?.ok_or_else(removed)?;
            if now.incarnation <= seen {
                return ended(&now);
            }
            // Nothing of that one was seen yet.
            (seen, from_start, drawn) = (now.incarnation, true, true);
        }
    }
}

/// Those that a terminal or another program sends to whoever runs something.
const PASSED_ON: [&str; 6] = ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"];
/// So many INT or TERM end the command, as in Docker, whatever the session does.
const PATIENCE: u32 = 3;

/// Listens for signals from its making on, so that none that comes early ends the command alone.
pub(super) struct Listeners {
    listeners: Vec<(Signal, Listener)>,
    patience: u32,
}

impl Listeners {
    /// Begins to listen.
    pub(super) fn new() -> Result<Self, Failure> {
        let mut listeners = Vec::new();
        for name in PASSED_ON {
            let signal_of = name.parse::<Signal>().map_err(anyhow::Error::from)?;
            let listener = signal(SignalKind::from_raw(signal_of.number().into())).map_err(anyhow::Error::from)?;
            listeners.push((signal_of, listener));
        }
        Ok(Self { listeners, patience: PATIENCE })
    }

    /// The next one to pass on. Cancel-safe.
    ///
    /// # Errors
    /// It was one too many: whoever sends them wants this command to end, and not only the other side.
    pub(super) async fn next(&mut self) -> Result<Signal, Failure> {
        let signal = poll_fn(|context| {
            for (signal, listener) in &mut self.listeners {
                if listener.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await;
        if matches!(signal.to_string().as_str(), "SIGINT" | "SIGTERM") {
            self.patience -= 1;
        }
        match self.patience {
            0 => Err(Failure::Session(format!("left after {PATIENCE} signals that it did not end by"))),
            _ => Ok(signal),
        }
    }
}

/// Whoever attached to a session passes signals on to it.
pub(super) struct Attached(Listeners);

impl Attached {
    /// Begins to listen.
    pub(super) fn listen() -> Result<Self, Failure> {
        Listeners::new().map(Self)
    }

    /// Shows what the session writes, and gives its exit code.
    pub(super) async fn follow(mut self, global: &Global, client: &Client, session: &Session) -> Result<u8, Failure> {
        tokio::select! {
            // Nothing is waited for any more once one of them has ended.
            code = follow(client, session) => code,
            left = self.pass_on(global, client, session) => left,
        }
    }

    /// Until there are too many.
    async fn pass_on(&mut self, global: &Global, client: &Client, session: &Session) -> Result<u8, Failure> {
        loop {
            let Ok(signal) = self.0.next().await else {
                let name = &session.name;
                return Err(Failure::Session(format!("session {name} goes on; `seawall kill {name}` ends it")));
            };
            let query = [("signal", signal.to_string())];
            if let Err(failure) = client.send(Method::POST, &["sessions", session.id.as_str(), "kill"], &query).await {
                report(global, &failure);
            }
        }
    }
}

async fn follow(client: &Client, session: &Session) -> Result<u8, Failure> {
    let id = session.id.as_str();
    let mut seen = session.incarnation;
    loop {
        read(client, id, seen).await?;
        let removed = || Failure::Session(format!("session {id} was removed meanwhile"));
        let now = client.wait_past(id, seen).await?.ok_or_else(removed)?;
        if now.incarnation <= seen {
            return ended(&now);
        }
        seen = now.incarnation;
    }
}

/// Copies what an incarnation writes until it ends. A backend that keeps no logs has none to show, and one that is gone
/// neither.
async fn read(client: &Client, id: &str, incarnation: Incarnation) -> Result<(), Failure> {
    let query = [("follow", true.to_string()), ("incarnation", incarnation.to_string())];
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
