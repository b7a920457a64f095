//! Streams on the wire: Docker's raw stream, with more kinds of frames.
//!
//! ```text
//! kind, 1 byte | 0 0 0 | length, 4 bytes, big-endian | bytes
//!
//! from the daemon   1 stdout   2 stderr   3 error: a problem document, the last frame
//!                   6 ended: how the command did, in JSON, the last frame
//!                   7 notice: a problem document, and the stream goes on
//! to the daemon     0 stdin; without bytes: nothing more comes   4 resize: columns and rows, 2 bytes each, big-endian
//!                   5 signal: its number, 1 byte   8 detach: the command goes on without this client
//! ```
//!
//! A log has the first three kinds. The others are those of connections that were taken over, see [`super::upgrade`].

use bytes::{Buf as _, Bytes, BytesMut};
use seawall_backend::Source;
use seawall_model::{CommandEnd, Signal, TerminalSize};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Problem;

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.seawall.raw-stream";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const SIGNAL: u8 = 5;
const ENDED: u8 = 6;
const NOTICE: u8 = 7;
const DETACH: u8 = 8;

/// Of a header.
pub(super) const HEADER: usize = 8;
/// No frame that is written has more; a larger one is a stream that is none.
const MAX_FRAME: usize = 16 << 20;
/// The same of frames to the daemon, which has many clients.
pub(super) const MAX_INPUT: usize = 64 << 10;

/// One frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// From standard output, or the terminal.
    Stdout(Bytes),
    /// From standard error.
    Stderr(Bytes),
    /// The stream broke.
    Error(Box<Problem>),
    /// The command ended.
    Ended(Ended),
    /// Something that was asked for was not done.
    Notice(Box<Problem>),
    /// For its standard input; empty: nothing more comes.
    Stdin(Bytes),
    /// Its terminal has another size.
    Resize(TerminalSize),
    /// A signal for it.
    Signal(Signal),
    /// It goes on without the client.
    Detach,
}

/// How a command ended: by one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Ended {
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<u8>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<u8>,
    /// It took longer than it may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) timed_out: bool,
}

impl From<CommandEnd> for Ended {
    fn from(end: CommandEnd) -> Self {
        match end {
            CommandEnd::Code(code) => Self { code: Some(code), ..Self::default() },
            CommandEnd::Signal(signal) => Self { signal: Some(signal), ..Self::default() },
            CommandEnd::TimedOut => Self { timed_out: true, ..Self::default() },
        }
    }
}

impl Frame {
    /// The bytes of it.
    pub(crate) fn encode(&self) -> Bytes {
        let document = |problem: &Problem| Bytes::from(serde_json::to_vec(problem).unwrap_or_default());
        let (kind, body) = match self {
            Self::Stdin(bytes) => (STDIN, bytes.clone()),
            Self::Stdout(bytes) => (STDOUT, bytes.clone()),
            Self::Stderr(bytes) => (STDERR, bytes.clone()),
            Self::Error(problem) => (ERROR, document(problem)),
            Self::Resize(TerminalSize { columns, rows }) => {
                (RESIZE, Bytes::from([columns.to_be_bytes(), rows.to_be_bytes()].concat()))
            }
            Self::Signal(signal) => (SIGNAL, Bytes::copy_from_slice(&[signal.number()])),
            Self::Ended(ended) => (ENDED, serde_json::to_vec(ended).unwrap_or_default().into()),
            Self::Notice(problem) => (NOTICE, document(problem)),
            Self::Detach => (DETACH, Bytes::new()),
        };
        let mut frame = BytesMut::from(&write_header(kind, body.len())[..]);
        frame.extend_from_slice(&body);
        frame.freeze()
    }
}

/// What stands before so many bytes of output.
pub(crate) fn header(source: Source, length: usize) -> [u8; HEADER] {
    let kind = match source {
        Source::Stdout => STDOUT,
        Source::Stderr => STDERR,
    };
    write_header(kind, length)
}

fn write_header(kind: u8, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    most: usize,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), most: MAX_FRAME }
    }
}

impl FrameReader {
    /// Of what clients send.
    pub(super) fn of_input() -> Self {
        Self { most: MAX_INPUT, ..Self::default() }
    }

    /// More bytes, cut anywhere.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Nothing is left of a frame that was cut off.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// These are no frames.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, String> {
        let Some((mut header, body)) = self.buffer.split_at_checked(HEADER) else { return Ok(None) };
        let kind = header.get_u32();
        let length = header.get_u32() as usize;
        if length > self.most {
            return Err(format!("a frame of {length} bytes, where {} are the most: the stream is damaged", self.most));
        }
        if body.len() < length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let body = self.buffer.split_to(length).freeze();
        let unreadable = |error| format!("a frame that cannot be read: {error}");
        let problem = || serde_json::from_slice(&body).map(Box::new).map_err(unreadable);
        let frame = match (kind.to_be_bytes(), body.as_ref()) {
            ([STDIN, 0, 0, 0], _) => Frame::Stdin(body),
            ([STDOUT, 0, 0, 0], _) => Frame::Stdout(body),
            ([STDERR, 0, 0, 0], _) => Frame::Stderr(body),
            ([ERROR, 0, 0, 0], _) => Frame::Error(problem()?),
            ([RESIZE, 0, 0, 0], &[a, b, c, d]) => {
                Frame::Resize(TerminalSize { columns: u16::from_be_bytes([a, b]), rows: u16::from_be_bytes([c, d]) })
            }
            ([SIGNAL, 0, 0, 0], &[number]) => {
                let signal = Signal::from_number(number.into());
                Frame::Signal(signal.map_err(|error| format!("a signal that is none: {error}"))?)
            }
            ([ENDED, 0, 0, 0], bytes) => Frame::Ended(serde_json::from_slice(bytes).map_err(unreadable)?),
            ([NOTICE, 0, 0, 0], _) => Frame::Notice(problem()?),
            ([DETACH, 0, 0, 0], _) => Frame::Detach,
            (kind, _) => return Err(format!("a frame of kind {kind:?} that cannot be read: the stream is damaged")),
        };
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Kind;

    #[test]
    fn frames_are_read_however_they_are_cut() {
        let problem = Problem::new(Kind::Unavailable, "the engine went away");
        let chunks = [(Source::Stdout, &b"out"[..]), (Source::Stderr, &b""[..]), (Source::Stderr, &b"\0\xff\n"[..])];
        let mut wire = Vec::new();
        for (source, bytes) in chunks {
            wire.extend_from_slice(&header(source, bytes.len()));
            wire.extend_from_slice(bytes);
        }
        let mut expected = vec![
            Frame::Stdout(Bytes::from_static(b"out")),
            Frame::Stderr(Bytes::new()),
            Frame::Stderr(Bytes::from_static(b"\0\xff\n")),
        ];
        let others = [
            Frame::Notice(Box::new(problem.clone())),
            Frame::Stdin(Bytes::from_static(b"\xfe")),
            Frame::Stdin(Bytes::new()),
            Frame::Resize(TerminalSize { columns: 300, rows: 2 }),
            Frame::Signal(Signal::KILL),
            Frame::Detach,
            Frame::Ended(CommandEnd::Signal(9).into()),
            Frame::Error(Box::new(problem)),
        ];
        others.iter().for_each(|frame| wire.extend_from_slice(&frame.encode()));
        expected.extend(others);
        for size in 1..=wire.len() {
            let mut reader = FrameReader::default();
            let mut read = Vec::new();
            for piece in wire.chunks(size) {
                reader.feed(piece);
                while let Some(frame) = reader.next().unwrap() {
                    read.push(frame);
                }
            }
            assert_eq!(read, expected, "in pieces of {size}");
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_stream_that_is_none_is_refused() {
        let none: [&[u8]; 6] = [
            b"HTTP/1.1",
            &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0, 0, 1, 0, 1],
            &[9, 0, 0, 0, 0, 0, 0, 0],
            &[SIGNAL, 0, 0, 0, 0, 0, 0, 1, 65],
            &[RESIZE, 0, 0, 0, 0, 0, 0, 1, 65],
        ];
        for wire in none {
            let mut reader = FrameReader::of_input();
            reader.feed(wire);
            assert!(reader.next().is_err());
        }
    }
}
