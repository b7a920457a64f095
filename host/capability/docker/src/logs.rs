//! A container's output as a native stream.
//!
//! The Engine gives a terminal's bytes as they are, and everything else in frames: a kind, three zeros, a length in
//! four bytes, the bytes. Pieces are handed on as they come, so a frame of any length takes no memory here.
//!
//! What the Engine has lost before is lost: its `local` log driver (seen in 20.10) drops the newline that ends a line
//! of more than 16 KiB.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use seawall_backend::{Error, LogChunk, LogStream, Source};
use seawall_model::{Key, LogOptions, Timestamp};

use crate::Inner;
use crate::wire::{self, Pieces};

/// Docker reads `tail` as a signed number; nobody has more lines than this.
const MAX_TAIL: u64 = 1 << 40;

impl Inner {
    pub(crate) async fn logs(&self, key: &Key, options: &LogOptions) -> Result<LogStream, Error> {
        if !options.stdout && !options.stderr {
            return Err(Error::invalid("stdout", "choose standard output, standard error or both"));
        }
        let client = self.connection.client().await?;
        let there = self.own(&client, key).await?.ok_or_else(|| self.missing(key))?;
        let terminal = there.config.as_ref().and_then(|config| config.tty).unwrap_or(false);
        let path = format!("{}{}", client.prefix(), path(&there.id.unwrap_or_default(), options));
        let answer = wire::get_output(&client.endpoint, &path).await;
        let answer = answer.map_err(|error| self.connection.failed(&client, "give a container's output", &error))?;
        Ok(output(answer, terminal))
    }
}

/// What the Engine sends of output.
pub(crate) fn output(pieces: impl Pieces + Unpin + 'static, terminal: bool) -> LogStream {
    Box::pin(Output { pieces, frames: Frames::new(terminal), ended: false })
}

fn path(id: &str, options: &LogOptions) -> String {
    let LogOptions { follow, tail, since, until, stdout, stderr, timestamps } = *options;
    let tail = tail.map_or_else(|| "all".to_owned(), |lines| lines.min(MAX_TAIL).to_string());
    let mut path = format!(
        "/containers/{id}/logs?follow={}&stdout={}&stderr={}&timestamps={}&tail={tail}",
        u8::from(follow),
        u8::from(stdout),
        u8::from(stderr),
        u8::from(timestamps)
    );
    if let Some(since) = since {
        path += &format!("&since={}", seconds(since, 0));
    }
    if let Some(until) = until {
        // Docker's bound is part of what it gives, ours is not.
        path += &format!("&until={}", seconds(until, 1));
    }
    path
}

/// Seconds with nine decimals, `less` nanoseconds before the time.
fn seconds(time: Timestamp, less: u128) -> String {
    let nanos = (u128::from(time.as_millis()) * 1_000_000).saturating_sub(less);
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

#[derive(Default)]
struct Head {
    bytes: [u8; 8],
    filled: usize,
}

enum Framing {
    Terminal,
    /// Reading a frame's head.
    Head(Head),
    /// In a frame: this many bytes are to come.
    Body(Kind, usize),
}

#[derive(Clone, Copy)]
enum Kind {
    Output(Source),
    /// The Engine's own trouble with the log, in words.
    Trouble,
}

/// Cuts what the Engine sends into pieces of output.
struct Frames {
    framing: Framing,
    /// Received and not yet given on.
    pending: Bytes,
}

struct Output<P> {
    pieces: P,
    frames: Frames,
    ended: bool,
}

impl Frames {
    fn new(terminal: bool) -> Self {
        let framing = if terminal { Framing::Terminal } else { Framing::Head(Head::default()) };
        Self { framing, pending: Bytes::new() }
    }

    /// The next piece of what is pending; `None` if more has to be received first.
    fn next_piece(&mut self) -> Option<io::Result<LogChunk>> {
        while !self.pending.is_empty() {
            match &mut self.framing {
                Framing::Terminal => {
                    return Some(Ok(LogChunk { source: Source::Stdout, bytes: std::mem::take(&mut self.pending) }));
                }
                Framing::Head(head) => {
                    let Some(place) = head.bytes.get_mut(head.filled) else {
                        return Some(Err(broken("a frame's head")));
                    };
                    *place = self.pending.get_u8();
                    head.filled += 1;
                    if head.filled == head.bytes.len() {
                        self.framing = match begin(head.bytes) {
                            Ok(framing) => framing,
                            Err(error) => return Some(Err(error)),
                        };
                    }
                }
                Framing::Body(kind, left) => {
                    let bytes = self.pending.split_to(self.pending.len().min(*left));
                    *left -= bytes.len();
                    let kind = *kind;
                    if *left == 0 {
                        self.framing = Framing::Head(Head::default());
                    }
                    return Some(match kind {
                        Kind::Output(source) => Ok(LogChunk { source, bytes }),
                        Kind::Trouble => {
                            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
                            Err(io::Error::other(format!("the Docker Engine cannot read on in the log: {text}")))
                        }
                    });
                }
            }
        }
        None
    }

    fn is_between_frames(&self) -> bool {
        match &self.framing {
            Framing::Terminal => true,
            Framing::Head(head) => head.filled == 0,
            Framing::Body(..) => false,
        }
    }
}

fn begin(head: [u8; 8]) -> io::Result<Framing> {
    let [kind, _, _, _, a, b, c, d] = head;
    let kind = match kind {
        0 | 1 => Kind::Output(Source::Stdout),
        2 => Kind::Output(Source::Stderr),
        3 => Kind::Trouble,
        _ => return Err(broken("a frame of an unknown kind")),
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| broken("a frame too long"))?;
    Ok(if length == 0 { Framing::Head(Head::default()) } else { Framing::Body(kind, length) })
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the Docker Engine's log stream is broken: {what}"))
}

impl<P: Pieces + Unpin> Stream for Output<P> {
    type Item = io::Result<LogChunk>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if let Some(piece) = this.frames.next_piece() {
                // An error is the last item.
                this.ended = piece.is_err();
                return Poll::Ready(Some(piece));
            }
            match ready!(this.pieces.poll_piece(cx)) {
                Some(Ok(data)) => this.frames.pending = data,
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.ended = true;
                    if !this.frames.is_between_frames() {
                        return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                    }
                }
            }
        }
    }
}

/// Everything that these pieces say, and how it ended, for the fuzz targets: as if they came from the Engine.
#[doc(hidden)]
pub fn frames(pieces: impl IntoIterator<Item = Bytes>, terminal: bool) -> (Vec<LogChunk>, io::Result<()>) {
    let (mut frames, mut chunks) = (Frames::new(terminal), Vec::new());
    for piece in pieces {
        frames.pending = piece;
        while let Some(chunk) = frames.next_piece() {
            match chunk {
                Ok(chunk) => chunks.push(chunk),
                Err(error) => return (chunks, Err(error)),
            }
        }
    }
    (chunks, if frames.is_between_frames() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_carried_out_to_the_nanosecond() {
        let options = LogOptions {
            tail: Some(u64::MAX),
            since: Some(Timestamp::from_millis(1_500)),
            until: Some(Timestamp::from_millis(2_000)),
            ..LogOptions::default()
        };
        let path = path("ab", &options);
        assert!(path.ends_with("&tail=1099511627776&since=1.500000000&until=1.999999999"), "{path}");
        assert!(path.starts_with("/containers/ab/logs?follow=0&stdout=1&stderr=1&timestamps=0"), "{path}");
    }

    #[test]
    fn frames_of_another_kind_are_an_error_and_no_panic() {
        assert!(matches!(begin([2, 0, 0, 0, 0, 0, 0, 5]), Ok(Framing::Body(Kind::Output(Source::Stderr), 5))));
        assert!(matches!(begin([1, 0, 0, 0, 0, 0, 0, 0]), Ok(Framing::Head(_))));
        assert!(matches!(begin([3, 0, 0, 0, 0, 0, 0, 1]), Ok(Framing::Body(Kind::Trouble, 1))));
        assert!(begin([b'h', b'i', 0, 0, 0, 0, 0, 0]).is_err());
    }
}
