//! `attach --follow-restarts`: attached again when a daemon that was away is there.
//!
//! Without a terminal, what a session writes is read from its log, which goes on where it broke off: nothing of it is lost
//! or shown twice. A terminal is attached to anew and draws again; what it showed meanwhile is in the log. What is typed
//! while nobody is there goes nowhere.

use std::future::pending;
use std::time::Duration;

use seawall_model::{Session, Timestamp};
use tokio::io::{AsyncReadExt as _, Stdin};

use super::attach::{With, removed, say_left, size_to_draw};
use super::conversation::{Conversation, Outcome};
use super::resume::{FIRST, LONGEST, Resumed, found, is_away};
use super::sessions::ended;
use super::terminal::{self, Leaving, Raw};
use super::{Global, printable};
use crate::api::{Attaching, Until};
use crate::client::Client;
use crate::exit::Failure;
use crate::problem::Kind;

/// ctrl-c, as a terminal gives it.
const INTERRUPT: u8 = 3;

/// How it ends that somebody is attached.
enum Kept {
    Left,
    Over(Box<Session>),
}

impl With {
    /// Until the session is over, or is left.
    pub(super) async fn over_restarts(
        &self,
        global: &Global,
        client: &Client,
        session: &Session,
    ) -> Result<u8, Failure> {
        if session.spec.tty {
            return match self.attached(global, client, session).await? {
                Kept::Left => Ok(0),
                Kept::Over(over) => ended(&over),
            };
        }
        let query = ["follow", "stdout", "stderr"].map(|name| (name, true.to_string())).to_vec();
        let from_now_on = vec![("since", Timestamp::now().to_string())];
        let shown = Resumed::new(client, session.id.as_str(), query, from_now_on, false).follow();
        let typed = async {
            let kept = if self.stdin { self.attached(global, client, session).await? } else { pending().await };
            match kept {
                Kept::Left => Ok(0),
                // What it wrote is shown to its end.
                Kept::Over(_) => pending().await,
            }
        };
        tokio::select! {
            // Nothing is waited for any more once one of them has ended.
            shown = shown => shown?,
            left = typed => return left,
        }
        let over = found(async || client.wait(session.id.as_str(), Until::Ended, None).await).await?;
        ended(&over.ok_or_else(|| removed(session))?)
    }

    /// At its terminal, or at its input alone, however often the daemon goes away.
    async fn attached(&self, global: &Global, client: &Client, session: &Session) -> Result<Kept, Failure> {
        let (id, tty) = (session.id.as_str(), session.spec.tty);
        let mut stdin = tokio::io::stdin();
        let (mut again, mut away, mut pause) = (false, false, FIRST);
        loop {
            let how = Attaching { stdout: tty, stderr: tty, stdin: self.stdin, size: size_to_draw(tty, true) };
            let held = match client.converse(&["sessions", id, "attach"], &how).await {
                Ok(Some(stream)) => {
                    if std::mem::take(&mut away) {
                        eprint!("seawall: attached again\r\n");
                    }
                    pause = FIRST;
                    let stdin = self.stdin.then_some(&mut stdin);
                    let conversation = Conversation { stdin, tty, keys: Some(self.keys.clone()), listeners: None };
                    conversation.hold(global, client, stream).await
                }
                Ok(None) => Ok(Outcome::Closed),
                Err(failure) => Err(failure),
            };
            match held {
                Ok(Outcome::Detached) => return say_left(session).map(|()| Kept::Left),
                Ok(Outcome::Closed | Outcome::Ended(_)) => {}
                // It does not run just now.
                Err(Failure::Daemon(problem)) if problem.kind == Kind::Conflict && again => {}
                Err(failure) if is_away(&failure) => tell(&mut away, &failure),
                Err(failure) => return Err(failure),
            }
            again = true;
            tokio::select! {
                now = runs(client, id, pause, &mut away) => {
                    let now = now?.ok_or_else(|| removed(session))?;
                    if now.state.is_final() {
                        return Ok(Kept::Over(Box::new(now)));
                    }
                }
                left = self.leaves(tty, &mut stdin) => {
                    left?;
                    return say_left(session).map(|()| Kept::Left);
                }
            }
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Ends when the keys or ctrl-c are typed where nobody else reads them.
    async fn leaves(&self, tty: bool, stdin: &mut Stdin) -> Result<(), Failure> {
        if !(tty && self.stdin && terminal::is_interactive()) {
            return pending().await;
        }
        let _raw = Raw::enter()?;
        let (mut leaving, mut typed) = (Leaving::new(self.keys.clone()), [0; 256]);
        loop {
            let Ok(length @ 1..) = stdin.read(&mut typed).await else { return pending().await };
            let (meant, left) = leaving.pass(typed.get(..length).unwrap_or_default());
            if left || meant.contains(&INTERRUPT) {
                return Ok(());
            }
        }
    }
}

/// The session, once it runs or is over and there is a daemon that says so. `None`: it is gone.
async fn runs(client: &Client, id: &str, pause: Duration, away: &mut bool) -> Result<Option<Session>, Failure> {
    // Its end may be known a moment after its output has ended.
    tokio::time::sleep(pause).await;
    let mut pause = FIRST;
    loop {
        match client.wait(id, Until::Running, None).await {
            Err(failure) if is_away(&failure) => tell(away, &failure),
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// Says once that there is nobody.
fn tell(away: &mut bool, failure: &Failure) {
    if !std::mem::replace(away, true) {
        // The terminal may be one that does not go back by itself.
        eprint!("\r\nseawall: {}; it is attached to again when the daemon is there\r\n", printable(&failure.chain()));
    }
}
