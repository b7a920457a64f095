//! Connections that are taken over: a request with `Upgrade: seawall-stream` is answered with 101, and from then on both
//! sides send frames (see [`frame`](super::frame)), until one of them closes the connection.
//!
//! Nothing is kept for a slow side: a piece is read where it comes from when the one before it was taken. So what one
//! stream takes of the daemon is one piece each way, and who reads slowly slows what it reads and nothing else.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use seawall_backend::{ExecEvent, Input, trace};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::frame::{self, Frame, FrameReader};
use super::server::Own;
use crate::exit::chain;
use crate::problem::{Kind, Problem};

/// The protocol that both sides go on in.
pub(crate) const PROTOCOL: &str = "seawall-stream";

/// A client that is told nothing else is sent a frame without bytes so often: that it is gone is noticed by that too.
const QUIET: Duration = Duration::from_secs(15);
/// What is read of a client at once, in bytes.
const PIECE: usize = 8 << 10;

/// A request, and whether its client would go on in [`PROTOCOL`].
pub(super) struct Upgrade {
    asked: Option<OnUpgrade>,
    own: Option<Own>,
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let asked = has(&parts.headers, &CONNECTION, "upgrade") && has(&parts.headers, &UPGRADE, PROTOCOL);
        let asked = if asked { parts.extensions.remove::<OnUpgrade>() } else { None };
        Ok(Self { asked, own: parts.extensions.get().cloned() })
    }
}

fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let mut words = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(','));
    words.any(|found| found.trim().eq_ignore_ascii_case(word))
}

/// A connection that will be taken over.
pub(super) struct Takeover {
    upgrade: OnUpgrade,
    own: Own,
}

impl Upgrade {
    /// What goes on after the answer goes on here.
    pub(super) fn own(&self) -> Result<Own, Problem> {
        self.own.clone().ok_or_else(|| Problem::new(Kind::Internal, "the request came by no connection"))
    }

    /// Refuses a client that would not.
    pub(super) fn required(self) -> Result<Takeover, Problem> {
        let own = self.own()?;
        let Some(upgrade) = self.asked else {
            let detail =
                format!("this is answered by a stream both ways: send Connection: Upgrade and Upgrade: {PROTOCOL}");
            return Err(Problem::new(Kind::UpgradeRequired, detail));
        };
        Ok(Takeover { upgrade, own })
    }
}

impl Takeover {
    /// Takes it over once the answer was sent, and carries bytes both ways until one side is done.
    pub(super) fn carry<E>(self, events: E, input: Box<dyn Input>, drain: CancellationToken) -> Response
    where
        E: Stream<Item = io::Result<ExecEvent>> + Send + Unpin + 'static,
    {
        let Self { upgrade, own } = self;
        let trace_id = trace::current();
        own.spawn(async move {
            match upgrade.await {
                Ok(connection) => {
                    let (from, to) = tokio::io::split(TokioIo::new(connection));
                    Carried { drain, trace_id }.carry(from, to, events, input).await;
                }
                Err(error) => debug!(error = %chain(&error), "a connection was not taken over"),
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, axum::http::HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, axum::http::HeaderValue::from_static(PROTOCOL));
        response
    }
}

/// Keeps what nobody listens to any more until it ends, or the daemon does: dropping it would end it.
pub(super) async fn to_its_end<E>(mut events: E, drain: &CancellationToken)
where
    E: Stream<Item = io::Result<ExecEvent>> + Unpin,
{
    while let Some(event) = tokio::select! {
        // Cancel-safe, both: what was not taken stays where it is.
        () = drain.cancelled() => None,
        event = events.next() => event,
    } {
        if let Err(error) = event {
            debug!(%error, "nobody knows how a command that was detached ended");
        }
    }
}

/// What a stream needs to know of where it is.
struct Carried {
    drain: CancellationToken,
    trace_id: Option<seawall_model::TraceId>,
}

/// How a client leaves.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// It closed the connection, or the connection broke.
    Gone,
    /// What it asked for goes on without it.
    Detached,
}

impl Carried {
    async fn carry<E>(
        self,
        from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin,
        mut events: E,
        mut input: Box<dyn Input>,
    ) where
        E: Stream<Item = io::Result<ExecEvent>> + Unpin,
    {
        // As many as wait: more of a client that sends much and reads nothing are not kept.
        let (notices, told) = mpsc::channel(4);
        let left = tokio::select! {
            // Both are dropped with the connection: nothing of either is left.
            written = self.write(to, &mut events, told) => {
                if let Err(error) = written {
                    debug!(%error, "a stream's client is gone");
                }
                return;
            }
            left = self.read(from, input.as_mut(), &notices) => left,
        };
        if left == Left::Detached {
            to_its_end(events, &self.drain).await;
        }
    }

    /// To the client, until there is no more to say.
    async fn write<E>(
        &self,
        mut to: impl AsyncWrite + Unpin,
        events: &mut E,
        mut told: mpsc::Receiver<Problem>,
    ) -> io::Result<()>
    where
        E: Stream<Item = io::Result<ExecEvent>> + Unpin,
    {
        loop {
            let event = tokio::select! {
                biased;
                // Cancel-safe, all of them: what was not taken stays where it is.
                () = self.drain.cancelled() => {
                    let detail = "the daemon is shutting down; the session goes on";
                    to.write_all(&Frame::Error(self.problem(Kind::ShuttingDown, detail)).encode()).await?;
                    break;
                }
                Some(problem) = told.recv() => {
                    to.write_all(&Frame::Notice(Box::new(problem)).encode()).await?;
                    continue;
                }
                event = events.next() => event,
                () = tokio::time::sleep(QUIET) => {
                    to.write_all(&Frame::Stdout(Bytes::new()).encode()).await?;
                    continue;
                }
            };
            let last = match event {
                Some(Ok(ExecEvent::Output(chunk))) => {
                    to.write_all(&frame::header(chunk.source, chunk.bytes.len())).await?;
                    to.write_all(&chunk.bytes).await?;
                    to.flush().await?;
                    continue;
                }
                Some(Ok(ExecEvent::Ended(end))) => Frame::Ended(end.into()),
                Some(Err(error)) => {
                    let detail = format!("the stream broke off: {}", chain(&error));
                    Frame::Error(self.problem(Kind::Unavailable, detail))
                }
                None => break,
            };
            to.write_all(&last.encode()).await?;
            break;
        }
        to.shutdown().await
    }

    /// From the client, until it leaves.
    async fn read(
        &self,
        mut from: impl AsyncRead + Unpin,
        input: &mut dyn Input,
        notices: &mpsc::Sender<Problem>,
    ) -> Left {
        let mut reader = FrameReader::of_input();
        let mut piece = BytesMut::with_capacity(PIECE);
        loop {
            loop {
                let done = match reader.next() {
                    Ok(None) => break,
                    Ok(Some(Frame::Detach)) => return Left::Detached,
                    Ok(Some(frame)) => give(input, frame).await,
                    Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                };
                let Err(error) = done else { continue };
                let kind = if error.kind() == io::ErrorKind::Unsupported { Kind::Unsupported } else { Kind::Malformed };
                // One that does not read them needs none.
                let _ = notices.try_send(*self.problem(kind, chain(&error)));
                if error.kind() == io::ErrorKind::InvalidData {
                    // Nothing after it can be read. What it asked for goes on until it closes the connection.
                    return closed(from).await;
                }
            }
            piece.clear();
            match from.read_buf(&mut piece).await {
                Ok(1..) => reader.feed(&piece),
                Ok(0) | Err(_) => return Left::Gone,
            }
        }
    }

    fn problem(&self, kind: Kind, detail: impl Into<String>) -> Box<Problem> {
        Box::new(Problem { trace_id: self.trace_id, ..Problem::new(kind, detail) })
    }
}

/// Does what a frame says.
async fn give(input: &mut dyn Input, frame: Frame) -> io::Result<()> {
    let given = match frame {
        Frame::Stdin(bytes) if bytes.is_empty() => input.close().await,
        Frame::Stdin(bytes) => input.write(bytes).await,
        Frame::Resize(size) => input.resize(size).await,
        Frame::Signal(signal) => input.signal(signal).await,
        other => {
            let message = format!("a client does not send this: {other:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    };
    match given {
        // One that closed its input, or has ended, reads no more: that is no failure of who writes.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
        given => given,
    }
}

/// Waits until the client closes the connection.
async fn closed(mut from: impl AsyncRead + Unpin) -> Left {
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    Left::Gone
}
