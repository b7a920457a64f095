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
use super::resume::is_away;
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
    /// Attach again when the daemon was away. What is written meanwhile is read from the log, without loss or repetition as
    /// far as the backend keeps it; a terminal only draws again. The detach keys, or ctrl-c, end the waiting
    #[arg(long)]
    follow_restarts: bool,
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
        let stdin = session.spec.stdin && !self.no_stdin;
        let with = With { stdin, keys: self.detach_keys, from_start: false, follow_restarts: self.follow_restarts };
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
    /// The daemon may go away and come back.
    pub(super) follow_restarts: bool,
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
            code = self.over_restarts(global, client, session), if self.follow_restarts => code,
            code = self.until_over(global, client, session), if !self.follow_restarts => code,
            left = passed_on => left,
        }
    }

    async fn until_over(&self, global: &Global, client: &Client, session: &Session) -> Result<u8, Failure> {
        let (id, tty) = (session.id.as_str(), session.spec.tty);
        let (mut seen, mut from_start) = (session.incarnation, self.from_start);
        if self.from_start {
            missed(client, id, 0, seen).await?;
        }
        let mut stdin = tokio::io::stdin();
        loop {
            let how = Attaching { stdin: self.stdin, size: size_to_draw(tty, !from_start), ..Attaching::default() };
            let stream = match client.converse(&["sessions", id, "attach"], &how).await {
                // It was over too soon: its log has what it wrote.
                Err(Failure::Daemon(problem)) if problem.kind == Kind::Conflict && from_start => {
                    read(client, id, seen).await?;
                    None
                }
                stream => stream?,
            };
            if let Some(stream) = stream {
                let stdin = self.stdin.then_some(&mut stdin);
                let conversation = Conversation { stdin, tty, keys: Some(self.keys.clone()), listeners: None };
                if let Outcome::Detached = conversation.hold(global, client, stream).await? {
                    say_left(session)?;
                    return Ok(0);
                }
            }
            let now = client.wait_past(id, seen).await?.ok_or_else(|| removed(session))?;
            if now.incarnation <= seen {
                return ended(&now);
            }
            missed(client, id, seen, now.incarnation).await?;
            // Nothing of that one was seen yet.
            (seen, from_start) = (now.incarnation, true);
        }
    }
}

/// Says that the keys were typed.
pub(super) fn say_left(session: &Session) -> Result<(), Failure> {
    super::say(&format!("\nleft session {}, which goes on\n", session.name))
}

pub(super) fn removed(session: &Session) -> Failure {
    Failure::Session(format!("session {} was removed meanwhile", session.name))
}

/// The size of the terminal here. A program that fills the screen draws it again when the size changes: to what it is,
/// right afterwards.
pub(super) fn size_to_draw(tty: bool, drawn: bool) -> Option<ScreenSize> {
    let size = if tty { terminal::size() } else { None };
    size.map(|size| ScreenSize { rows: size.rows.saturating_add(u16::from(drawn)), ..size })
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
                if is_away(&failure) {
                    // Nobody could pass on another one either.
                    return Err(failure);
                }
                report(global, &failure);
            }
        }
    }
}

async fn follow(client: &Client, session: &Session) -> Result<u8, Failure> {
    let id = session.id.as_str();
    let mut seen = session.incarnation;
    // Short ones may have come and gone before it was answered that it runs.
    missed(client, id, 0, seen).await?;
    loop {
        read(client, id, seen).await?;
        let now = client.wait_past(id, seen).await?.ok_or_else(|| removed(session))?;
        if now.incarnation <= seen {
            return ended(&now);
        }
        missed(client, id, seen, now.incarnation).await?;
        seen = now.incarnation;
    }
}

/// Copies what those wrote that came and went between these two.
async fn missed(client: &Client, id: &str, seen: Incarnation, now: Incarnation) -> Result<(), Failure> {
    for incarnation in seen.saturating_add(1)..now {
        read(client, id, incarnation).await?;
    }
    Ok(())
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
