//! Streams that a backend hands over. They are native: nothing of the plugin is left when one is read.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

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
