//! What is given to a command or a session: messages to its supervisor over the connection that is its own.
//!
//! The supervisor reads that connection only as fast as what it passes on is read, so a write waits for as long. A write
//! that is cut off has given a part of what it was to give; the message that it was in the middle of goes first the next
//! time, so that none is ever broken.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use seawall_backend::Input;
use seawall_model::{Signal, TerminalSize};
use seawall_supervisor::protocol::{Reply, Request};
use seawall_supervisor::record::Size;
use seawall_supervisor::signal;
use tokio::net::UnixStream;

/// Of what is given, so much goes in one message.
const PIECE: usize = 16 << 10;

/// The connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) stream: UnixStream,
    /// The supervisor has said that nothing more is read.
    input_closed: AtomicBool,
}

impl Line {
    pub(crate) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Arc<Self>> {
        let stream = UnixStream::from_std(stream)?;
        Ok(Arc::new(Self { stream, input_closed: AtomicBool::new(false) }))
    }

    /// The supervisor said so.
    pub(crate) fn input_is_closed(&self) {
        self.input_closed.store(true, Ordering::Relaxed);
    }

    /// From now on both sides know that it is over, whoever else holds it.
    pub(crate) fn hang_up(&self) {
        // One that the other side has closed needs no closing.
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
    }
}

/// What there is to be given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Has {
    /// It has a standard input that is open.
    pub(crate) stdin: bool,
    /// It has a terminal.
    pub(crate) terminal: bool,
    /// It is a command, which signals can be sent to.
    pub(crate) signals: bool,
}

/// One side of a [`Line`].
pub(crate) struct Keyboard {
    line: Arc<Line>,
    has: Has,
    /// What is left of a message that was begun.
    unsent: Bytes,
    /// What the supervisor says, where nobody else reads it.
    heard: Option<Vec<u8>>,
}

impl Keyboard {
    /// Of a command, whose events somebody else reads.
    pub(crate) fn of_command(line: Arc<Line>, has: Has) -> Self {
        Self { line, has, unsent: Bytes::new(), heard: None }
    }

    /// Of a session. `heard` has come already.
    pub(crate) fn of_session(line: Arc<Line>, has: Has, heard: Vec<u8>) -> Self {
        Self { line, has, unsent: Bytes::new(), heard: Some(heard) }
    }

    fn open(&mut self) -> io::Result<()> {
        if !self.has.stdin {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "its standard input is not open"));
        }
        self.hear()?;
        if self.line.input_closed.load(Ordering::Relaxed) { Err(unread()) } else { Ok(()) }
    }

    fn hear(&mut self) -> io::Result<()> {
        let Some(heard) = &mut self.heard else { return Ok(()) };
        loop {
            match Reply::decode(heard) {
                Some(Ok(Reply::InputClosed)) => self.line.input_is_closed(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
                None => match self.line.stream.try_read_buf(heard) {
                    Ok(0) => return Err(over()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(failed(error)),
                },
            }
        }
    }

    async fn send(&mut self, request: &Request) -> io::Result<()> {
        self.flush().await?;
        self.unsent = Bytes::from(request.encode());
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            self.line.stream.writable().await?;
            match self.line.stream.try_write(&self.unsent) {
                Ok(length) => self.unsent.advance(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Input for Keyboard {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        for piece in bytes.chunks(PIECE) {
            self.open()?;
            self.send(&Request::Write(piece.to_vec())).await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        if self.has.stdin { self.send(&Request::CloseStdin).await } else { Ok(()) }
    }

    async fn resize(&mut self, size: TerminalSize) -> io::Result<()> {
        if !self.has.terminal {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it has no terminal"));
        }
        self.send(&Request::Resize(Size { columns: size.columns, rows: size.rows })).await
    }

    async fn signal(&mut self, signal: Signal) -> io::Result<()> {
        let unsupported = |message: String| Err(io::Error::new(io::ErrorKind::Unsupported, message));
        if !self.has.signals {
            return unsupported("a signal to a session is sent to it, and not by way of its input".to_owned());
        }
        if signal::from_number(signal.number()).is_none() {
            return unsupported(format!("{signal} is a real-time signal, which processes cannot be sent"));
        }
        self.send(&Request::Signal(signal.number())).await
    }
}

fn failed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => over(),
        _ => error,
    }
}

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "it has ended")
}

fn unread() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads its standard input any more")
}
