//! `GET /v1/sessions/{id}/logs`: the backend's own stream, framed.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use seawall_backend::{LogStream, trace};
use seawall_model::{LogOptions, Timestamp, TraceId};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::extract::{Query, Reference};
use super::{Api, frame};
use crate::problem::{Kind, Problem};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Options {
    follow: bool,
    tail: Option<u64>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    stdout: bool,
    stderr: bool,
    timestamps: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { follow: false, tail: None, since: None, until: None, stdout: true, stderr: true, timestamps: false }
    }
}

pub(super) async fn open(
    State(api): State<Api>,
    Reference(id): Reference,
    Query(options): Query<Options>,
) -> Result<Response, Problem> {
    if !options.stdout && !options.stderr {
        return Err(Problem::field(Kind::Malformed, "stdout", "neither stdout nor stderr: there is nothing to give"));
    }
    let Options { follow, tail, since, until, stdout, stderr, timestamps } = options;
    let options = LogOptions { follow, tail, since, until, stdout, stderr, timestamps };
    let id = api.control.resolve(&id)?;
    let logs = api.control.logs(&id, options).await?;
    let body = Body::from_stream(framed(logs, api.drain.clone()));
    Ok(([(CONTENT_TYPE, frame::MEDIA_TYPE)], body).into_response())
}

/// The header and the bytes of each chunk, until the stream ends, breaks, or the daemon goes down.
fn framed(logs: LogStream, drain: CancellationToken) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    // The body is written after the request's trace is over.
    let trace_id = trace::current();
    stream::unfold(Some(logs), move |logs| {
        let drain = drain.clone();
        async move {
            let mut logs = logs?;
            let next = tokio::select! {
                biased;
                // Cancel-safe: the stream is dropped with the daemon.
                () = drain.cancelled() => {
                    let detail = "the daemon is shutting down; the session goes on";
                    return Some((vec![broken(Kind::ShuttingDown, detail, trace_id)], None));
                }
                // Cancel-safe: a stream keeps what was not taken.
                next = logs.next() => next,
            };
            match next? {
                Ok(chunk) => Some((vec![frame::header(&chunk), chunk.bytes], Some(logs))),
                Err(error) => {
                    let detail = format!("the log broke off: {}", crate::exit::chain(&error));
                    Some((vec![broken(Kind::Unavailable, detail, trace_id)], None))
                }
            }
        }
    })
    .flat_map(|pieces| stream::iter(pieces.into_iter().map(Ok)))
}

/// What is sent when the stream cannot go on.
fn broken(kind: Kind, detail: impl Into<String>, trace_id: Option<TraceId>) -> Bytes {
    frame::error(&Problem { trace_id, ..Problem::new(kind, detail) })
}
