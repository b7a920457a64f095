//! The log stream on the wire: Docker's raw stream, with a third kind of frame for an error in the middle.
//!
//! ```text
//! kind (1 stdout, 2 stderr, 3 error) | 0 0 0 | length, 4 bytes, big-endian | bytes
//! ```
//!
//! An error frame carries a problem document and is the last one.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use seawall_backend::{LogChunk, Source};

use crate::problem::Problem;

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.seawall.raw-stream";

const HEADER: usize = 8;
/// No frame that is written has more; a larger one is a stream that is none.
const MAX_FRAME: usize = 16 << 20;

/// One frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// From standard output, or the terminal.
    Stdout(Bytes),
    /// From standard error.
    Stderr(Bytes),
    /// The stream broke.
    Error(Box<Problem>),
}

/// The header of a chunk. The bytes follow it as they are: nothing is copied.
pub(crate) fn header(chunk: &LogChunk) -> Bytes {
    let kind = match chunk.source {
        Source::Stdout => 1,
        Source::Stderr => 2,
    };
    write_header(kind, chunk.bytes.len())
}

/// A whole error frame.
pub(crate) fn error(problem: &Problem) -> Bytes {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut frame = BytesMut::from(write_header(3, body.len()));
    frame.extend_from_slice(&body);
    frame.freeze()
}

fn write_header(kind: u8, length: usize) -> Bytes {
    let mut header = BytesMut::with_capacity(HEADER);
    header.put_slice(&[kind, 0, 0, 0]);
    header.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    header.freeze()
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
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
        if length > MAX_FRAME {
            return Err(format!("a log frame of {length} bytes: the stream is damaged"));
        }
        if body.len() < length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let body = self.buffer.split_to(length).freeze();
        match kind.to_be_bytes() {
            [1, 0, 0, 0] => Ok(Some(Frame::Stdout(body))),
            [2, 0, 0, 0] => Ok(Some(Frame::Stderr(body))),
            [3, 0, 0, 0] => serde_json::from_slice(&body)
                .map(|problem| Some(Frame::Error(Box::new(problem))))
                .map_err(|error| format!("an error frame that cannot be read: {error}")),
            other => Err(format!("a log frame of unknown kind {other:?}: the stream is damaged")),
        }
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
            let chunk = LogChunk { source, bytes: Bytes::from_static(bytes) };
            wire.extend_from_slice(&header(&chunk));
            wire.extend_from_slice(bytes);
        }
        wire.extend_from_slice(&error(&problem));
        let expected = [
            Frame::Stdout(Bytes::from_static(b"out")),
            Frame::Stderr(Bytes::new()),
            Frame::Stderr(Bytes::from_static(b"\0\xff\n")),
            Frame::Error(Box::new(problem)),
        ];
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
        for wire in [&b"HTTP/1.1"[..], &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], &[9, 0, 0, 0, 0, 0, 0, 0]] {
            let mut reader = FrameReader::default();
            reader.feed(wire);
            assert!(reader.next().is_err());
        }
    }
}
