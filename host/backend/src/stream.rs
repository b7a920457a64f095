//! Streams that a backend hands over. They are native: nothing of the plugin is left when one is read.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use seawall_model::CommandEnd;

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
pub type LogStream = Pin<Box<dyn Stream<Item = std::io::Result<LogChunk>> + Send>>;

/// What a command in a workload does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote something.
    Output(LogChunk),
    /// It ended: the last item.
    Ended(CommandEnd),
}

/// What a command does, until it ends. An error is the last item, and says that nobody knows how it ended.
pub type ExecEvents = Pin<Box<dyn Stream<Item = std::io::Result<ExecEvent>> + Send>>;

/// A command that runs in a workload. Dropping it releases everything behind it, and ends the command where the engine
/// can end one.
pub struct Execution {
    /// What it does.
    pub events: ExecEvents,
}

impl Execution {
    /// Reads to the end: the first `keep` bytes of output, and how the command ended.
    ///
    /// # Errors
    /// Nobody knows how it ended.
    pub async fn finish(mut self, keep: usize) -> std::io::Result<(Vec<u8>, CommandEnd)> {
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
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execution").finish_non_exhaustive()
    }
}
