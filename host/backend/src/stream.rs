//! Streams that a backend hands over. They are native: nothing of the plugin is left when one is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use seawall_model::{CommandEnd, Incarnation, SessionId, Signal, TerminalSize};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output. Pieces are not lines: a line may be cut anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it came from.
    pub source: Source,
    /// The bytes as they were written.
    pub bytes: Bytes,
}

/// Output of a workload. Ends when the output does; dropping it releases everything behind it. An error is the last
/// item.
pub type LogStream = Pin<Box<dyn Stream<Item = io::Result<LogChunk>> + Send>>;

/// What a command in a workload does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote something.
    Output(LogChunk),
    /// It ended: the last item.
    Ended(CommandEnd),
}

/// What a command does, until it ends. An error is the last item, and says that nobody knows how it ended.
pub type ExecEvents = Pin<Box<dyn Stream<Item = io::Result<ExecEvent>> + Send>>;

/// What the host gives to a command or a workload, as a keyboard does. Dropping it closes what the host has open, and says
/// nothing to the other side.
#[async_trait]
pub trait Input: Send {
    /// Writes all of it, and waits for as long as the other side takes nothing.
    ///
    /// # Errors
    /// Nobody reads it any more, or nothing can be written to it at all.
    async fn write(&mut self, bytes: Bytes) -> io::Result<()>;

    /// Says that nothing more comes: the other side reads end of file.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn close(&mut self) -> io::Result<()>;

    /// Changes the size of its terminal.
    ///
    /// # Errors
    /// It has no terminal, or its engine cannot be asked.
    async fn resize(&mut self, size: TerminalSize) -> io::Result<()>;

    /// Sends a signal to the command.
    ///
    /// # Errors
    /// Its engine cannot send it one, or cannot be asked.
    async fn signal(&mut self, signal: Signal) -> io::Result<()>;
}

/// Of what takes nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoInput;

#[async_trait]
impl Input for NoInput {
    async fn write(&mut self, _: Bytes) -> io::Result<()> {
        Err(nothing("its standard input is not open"))
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn resize(&mut self, _: TerminalSize) -> io::Result<()> {
        Err(nothing("it has no terminal"))
    }

    async fn signal(&mut self, _: Signal) -> io::Result<()> {
        Err(nothing("its engine sends it no signals"))
    }
}

fn nothing(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// A stream or an input with what it holds for as long as it lives: a permit, or a place among those that are counted.
#[derive(Debug)]
pub struct Holding<T, H> {
    inner: T,
    _held: H,
}

impl<T, H> Holding<T, H> {
    /// Lets go of `held` when it is dropped.
    pub fn new(inner: T, held: H) -> Self {
        Self { inner, _held: held }
    }
}

impl<T: Stream + Unpin, H: Unpin> Stream for Holding<T, H> {
    type Item = T::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T::Item>> {
        self.inner.poll_next_unpin(context)
    }
}

#[async_trait]
impl<H: Send> Input for Holding<Box<dyn Input>, H> {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.inner.write(bytes).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.inner.close().await
    }

    async fn resize(&mut self, size: TerminalSize) -> io::Result<()> {
        self.inner.resize(size).await
    }

    async fn signal(&mut self, signal: Signal) -> io::Result<()> {
        self.inner.signal(signal).await
    }
}

/// A command that runs in a workload. Dropping it releases everything behind it, and ends the command where the engine
/// can end one.
pub struct Execution {
    /// What it does.
    pub events: ExecEvents,
    /// What it is given.
    pub input: Box<dyn Input>,
}

/// A workload that somebody is attached to. When this is dropped the workload goes on.
pub struct Attachment {
    /// What it writes, until it ends. An error is the last item.
    pub output: LogStream,
    /// What it is given.
    pub input: Box<dyn Input>,
}

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wake {
    /// This workload.
    Workload(SessionId, Incarnation),
    /// Any of them.
    Any,
}

/// Tells when something may have changed, until it breaks. An error is the last item.
pub type Wakes = Pin<Box<dyn Stream<Item = io::Result<Wake>> + Send>>;

/// How far something is that takes long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Progress {
    /// Which part of it: a layer of an image. Absent: the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// What is done with it now, in a few words.
    pub doing: String,
    /// Bytes done, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// Bytes in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// Tells how far it is until it is done, which is its end. An error is the last item. Dropping it stops the work where
/// the engine can.
pub type Preparation = Pin<Box<dyn Stream<Item = Result<Progress, Error>> + Send>>;

impl Execution {
    /// One that takes no input.
    pub fn deaf(events: ExecEvents) -> Self {
        Self { events, input: Box::new(NoInput) }
    }

    /// Reads to the end: the first `keep` bytes of output, and how the command ended.
    ///
    /// # Errors
    /// Nobody knows how it ended.
    pub async fn finish(mut self, keep: usize) -> io::Result<(Vec<u8>, CommandEnd)> {
        let mut output = Vec::new();
        while let Some(event) = self.events.next().await {
            match event? {
                ExecEvent::Output(chunk) => {
                    let room = keep.saturating_sub(output.len()).min(chunk.bytes.len());
                    output.extend_from_slice(chunk.bytes.get(..room).unwrap_or_default());
                }
                ExecEvent::Ended(end) => return Ok((output, end)),
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execution").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment").finish_non_exhaustive()
    }
}
