//! A container's output as a native stream.
//!
//! The Engine gives a terminal's bytes as they are, and everything else in frames: a kind, three zeros, a length in
//! four bytes, the bytes. Pieces are handed on as they come, so a frame of any length takes no memory here.
//!
//! What the Engine has lost before is lost: its `local` log driver (seen in 20.10) drops the newline that ends a line
//! of more than 16 KiB.
//!
//! It keeps a line of more than 16 KiB in pieces, a frame each, and where times are asked for it gives one to each piece,
//! all the same. Here a line has one, at its beginning. Of a terminal there are no frames to tell that from.

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
        let frames = Frames { times: options.timestamps.then(Times::default), ..Frames::new(terminal) };
        Ok(Box::pin(Output { pieces: answer, frames, ended: false }))
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
    /// At the time that a frame of output begins with: what was read of it, and how many bytes of the frame are to come.
    Time(Source, Vec<u8>, usize),
    /// In a frame: this many bytes are to come.
    Body(Kind, usize),
}

#[derive(Clone, Copy)]
enum Kind {
    Output(Source),
    /// The Engine's own trouble with the log, in words.
    Trouble,
}

/// Tells the times of lines from those of their further pieces.
#[derive(Default)]
struct Times {
    stdout: Line,
    stderr: Line,
}

/// The newest line of a stream.
#[derive(Default)]
struct Line {
    time: Vec<u8>,
    /// Its end has not come yet.
    open: bool,
}

/// More bytes than a time has, with the space after it.
const LONGEST_TIME: usize = 40;

impl Times {
    fn line(&mut self, source: Source) -> &mut Line {
        match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        }
    }

    /// What to show of a frame's time: nothing where it goes on with a line.
    fn shown(&mut self, source: Source, time: Vec<u8>) -> Bytes {
        let line = self.line(source);
        match std::mem::replace(&mut line.open, true) {
            true if line.time == time => Bytes::new(),
            open => {
                line.time.clone_from(&time);
                // The end of the line before was lost.
                let mut shown = if open { vec![b'\n'] } else { Vec::new() };
                shown.extend(time);
                shown.into()
            }
        }
    }
}

/// Cuts what the Engine sends into pieces of output.
struct Frames {
    framing: Framing,
    /// Frames begin with times.
    times: Option<Times>,
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
        Self { framing, times: None, pending: Bytes::new() }
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
                        self.framing = match begin(head.bytes, self.times.is_some()) {
                            Ok(framing) => framing,
                            Err(error) => return Some(Err(error)),
                        };
                    }
                }
                Framing::Time(source, read, left) => {
                    let most = (*left).min(LONGEST_TIME - read.len()).min(self.pending.len());
                    let space = self.pending.iter().take(most).position(|byte| *byte == b' ');
                    let bytes = self.pending.split_to(space.map_or(most, |at| at + 1));
                    read.extend_from_slice(&bytes);
                    *left -= bytes.len();
                    if space.is_none() && *left > 0 && read.len() < LONGEST_TIME {
                        continue;
                    }
                    let (source, time, left) = (*source, std::mem::take(read), *left);
                    let shown = self.times.as_mut().map(|times| times.shown(source, time)).unwrap_or_default();
                    self.go_on(Kind::Output(source), left, &bytes);
                    if !shown.is_empty() {
                        return Some(Ok(LogChunk { source, bytes: shown }));
                    }
                }
                Framing::Body(kind, left) => {
                    let bytes = self.pending.split_to(self.pending.len().min(*left));
                    let (kind, left) = (*kind, *left - bytes.len());
                    self.go_on(kind, left, &bytes);
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

    /// After these bytes of a frame, of which so many are left.
    fn go_on(&mut self, kind: Kind, left: usize, bytes: &[u8]) {
        self.framing = body(kind, left);
        if let (0, Some(times), Kind::Output(source)) = (left, &mut self.times, kind) {
            times.line(source).open = !bytes.ends_with(b"\n");
        }
    }

    fn is_between_frames(&self) -> bool {
        match &self.framing {
            Framing::Terminal => true,
            Framing::Head(head) => head.filled == 0,
            Framing::Time(..) | Framing::Body(..) => false,
        }
    }
}

fn begin(head: [u8; 8], timed: bool) -> io::Result<Framing> {
    let [kind, _, _, _, a, b, c, d] = head;
    let kind = match kind {
        0 | 1 => Kind::Output(Source::Stdout),
        2 => Kind::Output(Source::Stderr),
        3 => Kind::Trouble,
        _ => return Err(broken("a frame of an unknown kind")),
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| broken("a frame too long"))?;
    Ok(match kind {
        Kind::Output(source) if timed && length > 0 => Framing::Time(source, Vec::new(), length),
        kind => body(kind, length),
    })
}

/// So many bytes of a frame are to come.
fn body(kind: Kind, left: usize) -> Framing {
    if left == 0 { Framing::Head(Head::default()) } else { Framing::Body(kind, left) }
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

    fn with_times(sent: &[u8], piece: usize) -> String {
        let mut frames = Frames { times: Some(Times::default()), ..Frames::new(false) };
        let mut text = Vec::new();
        for piece in sent.chunks(piece) {
            frames.pending = Bytes::copy_from_slice(piece);
            while let Some(chunk) = frames.next_piece() {
                text.extend_from_slice(&chunk.unwrap().bytes);
            }
        }
        assert!(frames.is_between_frames());
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_line_in_pieces_has_one_time_and_one_whose_end_was_lost_ends_before_the_next() {
        let frame = |kind: u8, text: &str| {
            let mut frame = vec![kind, 0, 0, 0, 0, 0, 0, u8::try_from(text.len()).unwrap()];
            frame.extend(text.as_bytes());
            frame
        };
        let sent = [
            frame(1, "2026-01-01T00:00:01.1Z long "),
            frame(2, "2026-01-01T00:00:01.2Z other\n"),
            frame(1, "2026-01-01T00:00:01.1Z and longer"),
            frame(1, "2026-01-01T00:00:01.1Z  yet\n"),
            frame(1, "2026-01-01T00:00:01.3Z \n"),
            frame(1, "2026-01-01T00:00:01.4Z its end was lost"),
            frame(1, "2026-01-01T00:00:01.5Z next\n"),
        ]
        .concat();
        let shown = "2026-01-01T00:00:01.1Z long 2026-01-01T00:00:01.2Z other\nand longer yet\n\
                     2026-01-01T00:00:01.3Z \n2026-01-01T00:00:01.4Z its end was lost\n2026-01-01T00:00:01.5Z next\n";
        for piece in [1, 2, 7, 1000] {
            assert_eq!(with_times(&sent, piece), shown, "in pieces of {piece}");
        }
    }

    #[test]
    fn frames_of_another_kind_are_an_error_and_no_panic() {
        assert!(matches!(begin([2, 0, 0, 0, 0, 0, 0, 5], false), Ok(Framing::Body(Kind::Output(Source::Stderr), 5))));
        assert!(matches!(begin([1, 0, 0, 0, 0, 0, 0, 0], false), Ok(Framing::Head(_))));
        assert!(matches!(begin([3, 0, 0, 0, 0, 0, 0, 1], false), Ok(Framing::Body(Kind::Trouble, 1))));
        assert!(begin([b'h', b'i', 0, 0, 0, 0, 0, 0], false).is_err());
    }
}
