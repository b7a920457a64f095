//! The log of a session: files of records, the oldest removed as new ones are begun.
//!
//! Files are named by a number that grows (`log/0000000001`). A record is a header of 16 bytes, all little-endian, and
//! the bytes as they were written:
//!
//! | bytes | what                                              |
//! |-------|---------------------------------------------------|
//! | 8     | time, in ms since the Unix epoch                  |
//! | 4     | number of bytes that follow the header            |
//! | 1     | stream: 1 stdout, 2 stderr, 3 lost                |
//! | 1     | version of the format: 1                          |
//! | 2     | 0                                                 |
//!
//! A record of the stream *lost* holds the number (u64) of bytes that could not be written because the disk was full.
//! A record that is cut off at the end of a file is one that is being written, or whose writer was killed.

mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

use serde::{Deserialize, Serialize};

/// Bytes of a header.
const HEADER: usize = 16;
/// The version written.
const VERSION: u8 = 1;
/// A record holds at most this many bytes.
pub const MAX_RECORD: usize = 64 << 10;
/// No more are written to one, so that it has 8 KiB with its header: a record waits in memory for as long as its reader does.
const CUT: usize = (8 << 10) - HEADER;

/// Bounds on a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of one file.
    pub max_size: u64,
    /// Number of files.
    pub max_files: u32,
}

impl Limits {
    /// The least that `max_size` can be: one record and its header fit.
    pub const MIN_SIZE: u64 = 128 << 10;
    /// The most that `max_files` can be.
    pub const MAX_FILES: u32 = 100;
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_size: 10 << 20, max_files: 3 }
    }
}

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere: they are lost.
    Lost,
}

impl Stream {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Lost => 3,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Stdout, Self::Stderr, Self::Lost].into_iter().find(|stream| stream.number() == number)
    }
}

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was read from the session, in ms since the Unix epoch.
    pub time: u64,
    /// Where it came from.
    pub stream: Stream,
    /// The bytes as they were written.
    pub bytes: Vec<u8>,
    /// So many files of records before it were removed before their reader came to them.
    pub missing: u64,
}

impl Record {
    /// For a record of [`Stream::Lost`]: how many bytes are.
    pub fn lost(&self) -> Option<u64> {
        match (self.stream, <[u8; 8]>::try_from(self.bytes.as_slice())) {
            (Stream::Lost, Ok(bytes)) => Some(u64::from_le_bytes(bytes)),
            _ => None,
        }
    }
}

fn header(time: u64, stream: Stream, length: usize) -> [u8; HEADER] {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = time.to_le_bytes();
    let [l0, l1, l2, l3] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3, stream.number(), VERSION, 0, 0]
}

/// Time, stream and length; `None` if this is no header.
fn parse_header(bytes: &[u8; HEADER]) -> Option<(u64, Stream, usize)> {
    let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3, stream, version, _, _] = *bytes;
    let time = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
    let stream = Stream::from_number(stream)?;
    (version == VERSION && length <= MAX_RECORD).then_some((time, stream, length))
}

fn file_name(number: u64) -> String {
    format!("{number:010}")
}

/// The numbers of the files in a log's directory, in order.
fn files(dir: &std::path::Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}
