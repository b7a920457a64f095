//! Both ways between this terminal and a command or a session, over a connection that was taken over.

use std::io::Write as _;

use bytes::{Bytes, BytesMut};
use reqwest::Upgraded;
use seawall_model::{Signal, TerminalSize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Stdin};
use tokio::signal::unix::{SignalKind, signal};

use super::Global;
use super::attach::Listeners;
use super::report;
use super::terminal::{self, DetachKeys, Leaving, Raw};
use crate::api::{Ended, Frame, FrameReader};
use crate::client::Client;
use crate::exit::Failure;

/// Of what is read at once, here and there.
const PIECE: usize = 32 << 10;

/// What this side has to say.
pub(super) struct Conversation<'a> {
    /// What is read here goes there. Whoever holds several holds them all with the same: what was typed between two of
    /// them is in there.
    pub(super) stdin: Option<&'a mut Stdin>,
    /// A terminal on both sides: keys go there as they are pressed, and its size as it changes.
    pub(super) tty: bool,
    /// What leaves it, where somebody types.
    pub(super) keys: Option<DetachKeys>,
    /// What the other side is told of signals that come here.
    pub(super) listeners: Option<Listeners>,
}

/// How it came to its end.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The command ended.
    Ended(Ended),
    /// There is no more to come.
    Closed,
    /// The keys were typed.
    Detached,
}

impl Conversation<'_> {
    /// Until one side has no more to say.
    pub(super) async fn hold(self, global: &Global, client: &Client, with: Upgraded) -> Result<Outcome, Failure> {
        let raw = (self.tty && self.stdin.is_some() && terminal::is_interactive()).then(Raw::enter).transpose()?;
        let (from, to) = tokio::io::split(with);
        let keys = self.keys.filter(|_| raw.is_some());
        let said = Saying {
            to,
            pending: BytesMut::new(),
            leaving: keys.map(Leaving::new),
            stdin: self.stdin,
            sized: self.tty,
            listeners: self.listeners,
        };
        tokio::select! {
            // What is said after the other side's last word is heard by nobody.
            biased;
            heard = hear(global, client, from) => heard,
            said = said.say(client) => said,
        }
    }
}

/// Shows what comes.
async fn hear(global: &Global, client: &Client, mut from: impl AsyncRead + Unpin) -> Result<Outcome, Failure> {
    let mut reader = FrameReader::default();
    let mut piece = BytesMut::with_capacity(PIECE);
    loop {
        while let Some(frame) = reader.next().map_err(|error| Failure::Other(anyhow::Error::msg(error)))? {
            let written = match frame {
                Frame::Stdout(bytes) => {
                    let mut out = std::io::stdout().lock();
                    out.write_all(&bytes).and_then(|()| out.flush())
                }
                Frame::Stderr(bytes) => std::io::stderr().lock().write_all(&bytes),
                Frame::Error(problem) => return Err((*problem).into()),
                Frame::Notice(problem) => {
                    report(global, &(*problem).into());
                    Ok(())
                }
                Frame::Ended(ended) => return Ok(Outcome::Ended(ended)),
                other => return Err(Failure::Other(anyhow::anyhow!("a daemon does not send this: {other:?}"))),
            };
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Outcome::Closed),
                Err(error) => return Err(Failure::Other(anyhow::Error::new(error).context("failed to print"))),
            }
        }
        piece.clear();
        match from.read_buf(&mut piece).await {
            Ok(0) if reader.is_empty() => return Ok(Outcome::Closed),
            Ok(0) => return Err(client.connection(anyhow::anyhow!("the stream ends in the middle of a frame"))),
            Ok(_) => reader.feed(&piece),
            Err(error) => return Err(client.connection(error.into())),
        }
    }
}

struct Saying<'a, W> {
    to: W,
    /// Not yet taken by the other side.
    pending: BytesMut,
    leaving: Option<Leaving>,
    /// `None`: nothing more is read.
    stdin: Option<&'a mut Stdin>,
    sized: bool,
    listeners: Option<Listeners>,
}

impl<W: AsyncWrite + Unpin> Saying<'_, W> {
    /// Until the keys are typed or somebody insists on leaving; else it has no end.
    async fn say(mut self, client: &Client) -> Result<Outcome, Failure> {
        let mut sizes = signal(SignalKind::window_change()).map_err(anyhow::Error::from)?;
        let mut read = vec![0; PIECE];
        if self.sized {
            // It may have changed since the connection was asked for.
            self.resize();
        }
        loop {
            // Cancel-safe, all of them: what was neither read nor written is there in the next round.
            tokio::select! {
                written = self.to.write_buf(&mut self.pending), if !self.pending.is_empty() => {
                    if written.is_err() {
                        // What the other side still says is heard; why it is gone is said there.
                        return std::future::pending().await;
                    }
                }
                length = from_stdin(&mut self.stdin, &mut read), if self.pending.len() < PIECE => {
                    let length = length.map_err(|error| client.connection(error.into()))?;
                    let typed = read.get(..length).unwrap_or_default();
                    if self.typed(typed) {
                        self.flush().await;
                        return Ok(Outcome::Detached);
                    }
                    if length == 0 {
                        self.stdin = None;
                        self.frame(&Frame::Stdin(Bytes::new()));
                    }
                }
                Some(()) = sizes.recv(), if self.sized => self.resize(),
                signal = heard(&mut self.listeners) => {
                    let signal = signal?;
                    self.frame(&Frame::Signal(signal));
                }
            }
        }
    }

    /// Whether these bytes have the keys in them.
    fn typed(&mut self, typed: &[u8]) -> bool {
        let (meant, left) = match &mut self.leaving {
            Some(leaving) => leaving.pass(typed),
            None => (typed.to_vec(), false),
        };
        if !meant.is_empty() {
            self.frame(&Frame::Stdin(meant.into()));
        }
        if left {
            self.frame(&Frame::Detach);
        }
        left
    }

    fn resize(&mut self) {
        if let Some(size) = terminal::size() {
            self.frame(&Frame::Resize(TerminalSize { columns: size.columns, rows: size.rows }));
        }
    }

    fn frame(&mut self, frame: &Frame) {
        self.pending.extend_from_slice(&frame.encode());
    }

    async fn flush(&mut self) {
        // The daemon need not hear it: without a client the end is the same, but for what can be detached.
        let _ = self.to.write_all_buf(&mut self.pending).await;
        let _ = self.to.flush().await;
    }
}

async fn from_stdin(stdin: &mut Option<&mut Stdin>, into: &mut [u8]) -> std::io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.read(into).await,
        None => std::future::pending().await,
    }
}

async fn heard(listeners: &mut Option<Listeners>) -> Result<Signal, Failure> {
    match listeners {
        Some(listeners) => listeners.next().await,
        None => std::future::pending().await,
    }
}
