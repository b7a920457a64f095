//! A log as it is written to a client.
//!
//! What is there already is gathered up to a piece: a backend may give a line at a time, and each would cost as much on its
//! way as a whole piece. Nothing is waited for. The next piece is gathered when the one before has left the daemon, so that a
//! client that reads slowly, or not at all, takes no more memory than that.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use seawall_backend::{LogChunk, LogStream, Source, trace};
use seawall_model::TraceId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, PollSemaphore, WaitForCancellationFutureOwned};

use super::frame::{self, Frame};
use crate::problem::{Kind, Problem};

/// The most bytes of a piece.
const PIECE: usize = 8 << 10;

/// How a log is written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// See [`frame`].
    Framed,
    /// The bytes alone. A log that breaks off breaks the connection: there is no other way to say it.
    Plain,
}

/// Why a plain log breaks off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(String);

/// Its pieces, until it ends, breaks, or the daemon goes down.
pub(super) struct Written {
    /// `None`: it gives no more.
    logs: Option<LogStream>,
    /// What of its newest chunk did not fit into a piece.
    rest: Option<LogChunk>,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Why it broke off.
    broken: Option<Problem>,
    form: Form,
    trace_id: Option<TraceId>,
    /// For one piece.
    room: PollSemaphore,
}

impl Written {
    pub(super) fn new(logs: LogStream, form: Form, drain: CancellationToken) -> Self {
        Self {
            logs: Some(logs),
            rest: None,
            drained: Box::pin(drain.cancelled_owned()),
            broken: None,
            form,
            // The body is written after the request's trace is over.
            trace_id: trace::current(),
            room: PollSemaphore::new(Arc::new(Semaphore::new(1))),
        }
    }

    /// The next of it, until there is no more.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<LogChunk>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(rest));
        }
        let Some(logs) = &mut self.logs else { return Poll::Ready(None) };
        let problem = if self.drained.as_mut().poll(cx).is_ready() {
            Some(Problem::new(Kind::ShuttingDown, "the daemon is shutting down; the session goes on"))
        } else {
            match ready!(logs.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => return Poll::Ready(Some(chunk)),
                Some(Err(error)) => {
                    let detail = format!("the log broke off: {}", crate::exit::chain(&error));
                    Some(Problem::new(Kind::Unavailable, detail))
                }
                None => None,
            }
        };
        self.broken = problem.map(|problem| Problem { trace_id: self.trace_id, ..problem });
        self.logs = None;
        Poll::Ready(None)
    }

    fn last_word(&mut self) -> Option<Result<Bytes, Broken>> {
        let problem = self.broken.take()?;
        Some(match self.form {
            Form::Framed => Ok(Frame::Error(Box::new(problem)).encode()),
            Form::Plain => Err(Broken(problem.detail)),
        })
    }
}

impl Stream for Written {
    type Item = Result<Bytes, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(room) = ready!(this.room.poll_acquire(cx)) else { return Poll::Ready(None) };
        let mut piece = Piece::default();
        while piece.has_room() {
            match this.poll_chunk(cx) {
                Poll::Ready(Some(mut chunk)) => {
                    piece.add(&mut chunk, this.form);
                    this.rest = Some(chunk).filter(|rest| !rest.bytes.is_empty());
                }
                Poll::Ready(None) if piece.bytes.is_empty() => return Poll::Ready(this.last_word()),
                Poll::Pending if piece.bytes.is_empty() => return Poll::Pending,
                _ => break,
            }
        }
        Poll::Ready(Some(Ok(Bytes::from_owner(Leaving { bytes: piece.bytes, _room: room }))))
    }
}

/// A piece, until it has left.
struct Leaving {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Leaving {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What was gathered. Chunks of the same source are one frame.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Where it comes from, and where its bytes begin.
    frame: Option<(Source, usize)>,
}

impl Piece {
    /// For a frame of a byte.
    fn has_room(&self) -> bool {
        self.bytes.len() + frame::HEADER < PIECE
    }

    /// Takes off a chunk as much as there is room for.
    fn add(&mut self, chunk: &mut LogChunk, form: Form) {
        // Grown by itself it would come to twice as much.
        self.bytes.reserve_exact(PIECE.saturating_sub(self.bytes.len()));
        let source = chunk.source;
        let goes_on = self.frame.filter(|(of, _)| *of == source);
        let (_, start) = *self.frame.insert(goes_on.unwrap_or((source, self.bytes.len())));
        if let (Form::Framed, None) = (form, goes_on) {
            self.bytes.extend_from_slice(&[0; frame::HEADER]);
        }
        let room = PIECE.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&chunk.bytes.split_to(room.min(chunk.bytes.len())));
        if let Form::Framed = form
            && let Some((header, bytes)) = self.bytes.get_mut(start..).and_then(|frame| frame.split_first_chunk_mut())
        {
            *header = frame::header(source, bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _, stream};

    use super::super::frame::FrameReader;
    use super::*;

    fn chunk(source: Source, bytes: &[u8]) -> std::io::Result<LogChunk> {
        Ok(LogChunk { source, bytes: Bytes::copy_from_slice(bytes) })
    }

    fn frames(bytes: &[u8]) -> Vec<Frame> {
        let mut reader = FrameReader::default();
        reader.feed(bytes);
        let frames = std::iter::from_fn(|| reader.next().unwrap()).collect();
        assert!(reader.is_empty());
        frames
    }

    #[tokio::test]
    async fn what_is_there_is_one_piece_and_nothing_is_waited_for() {
        let (out, err) = (Source::Stdout, Source::Stderr);
        let there = [chunk(out, b"one "), chunk(out, b"two"), chunk(err, b"no"), chunk(out, b"\xff\n")];
        let more = stream::iter(there).chain(stream::pending());
        let mut written = Written::new(Box::pin(more), Form::Framed, CancellationToken::new());
        let expected = [
            Frame::Stdout(Bytes::from_static(b"one two")),
            Frame::Stderr(Bytes::from_static(b"no")),
            Frame::Stdout(Bytes::from_static(b"\xff\n")),
        ];
        assert_eq!(frames(&written.next().await.unwrap().unwrap()), expected);
        assert!(written.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn all_of_it_comes_in_bounded_pieces_before_what_it_ends_with() {
        let lines = (0..10_000).map(|_| chunk(Source::Stdout, b"a line\n"));
        let broken = Err(std::io::Error::other("the engine went away"));
        let long = chunk(Source::Stdout, &[b'x'; 3 * PIECE]);
        let log = stream::iter(lines.chain([long, broken]).collect::<Vec<_>>());
        let written = Written::new(Box::pin(log), Form::Framed, CancellationToken::new());
        let pieces: Vec<Vec<u8>> = written.map(|piece| piece.unwrap().to_vec()).collect().await;
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE), "{:?}", pieces.iter().map(Vec::len).max());
        let mut frames = frames(&pieces.concat());
        let Some(Frame::Error(problem)) = frames.pop() else { panic!("{:?}", frames.last()) };
        assert!(problem.detail.contains("the engine went away"), "{}", problem.detail);
        assert_eq!(frames.len(), pieces.len() - 1);
        let length = |frame: &Frame| if let Frame::Stdout(bytes) = frame { bytes.len() } else { 0 };
        assert_eq!(frames.iter().map(length).sum::<usize>(), 10_000 * b"a line\n".len() + 3 * PIECE);
    }

    #[tokio::test]
    async fn the_next_piece_is_gathered_when_the_one_before_has_left() {
        let lines = stream::repeat_with(|| chunk(Source::Stdout, b"a line\n"));
        let mut written = Written::new(Box::pin(lines), Form::Plain, CancellationToken::new());
        let first = written.next().await.unwrap().unwrap();
        assert!(written.next().now_or_never().is_none());
        let (next, ()) = tokio::join!(written.next(), async { drop(first) });
        assert!(next.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_plain_log_is_bytes_alone_and_ends_with_the_daemon() {
        let drain = CancellationToken::new();
        let there = [chunk(Source::Stdout, b"out"), chunk(Source::Stderr, b"err")];
        let more = stream::iter(there).chain(stream::pending());
        let mut written = Written::new(Box::pin(more), Form::Plain, drain.clone());
        assert_eq!(written.next().await.unwrap().unwrap(), "outerr");
        drain.cancel();
        assert!(written.next().await.unwrap().unwrap_err().to_string().contains("shutting down"));
        assert!(written.next().await.is_none());
    }
}
