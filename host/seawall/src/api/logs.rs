//! `GET /v1/sessions/{id}/logs`: the backend's own stream, framed or as it is.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use seawall_backend::{LogChunk, LogStream, trace};
use seawall_model::{Incarnation, LogOptions, Timestamp, TraceId};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::Api;
use super::extract::{Query, Reference, accepts, some_number};
use super::frame::{self, Frame};
use super::openapi::OfSession;
use crate::problem::{Kind, Problem};

#[derive(Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Options {
    /// Go on until the session ends.
    follow: bool,
    /// What this start of the session wrote. Of an earlier one than the newest: the last of it, where it is kept. Default: the
    /// newest.
    #[serde(deserialize_with = "some_number")]
    incarnation: Option<Incarnation>,
    /// Only the last so many lines.
    #[serde(deserialize_with = "some_number")]
    tail: Option<u64>,
    /// Only what was written at or after.
    since: Option<Timestamp>,
    /// Only what was written before.
    until: Option<Timestamp>,
    /// Standard output. Default true.
    #[param(default = true)]
    stdout: bool,
    /// Standard error. Default true.
    #[param(default = true)]
    stderr: bool,
    /// An RFC 3339 time and a space before each line.
    timestamps: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            follow: false,
            incarnation: None,
            tail: None,
            since: None,
            until: None,
            stdout: true,
            stderr: true,
            timestamps: false,
        }
    }
}

/// What a session wrote.
///
/// Framed, or with `Accept: text/plain` as it was written. See "Logs" in the description of the API.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/logs", operation_id = "session_logs", tag = "sessions", params(OfSession, Options),
    responses((
        status = 200, description = "The log, until it ends or the client goes",
        content((String = "application/vnd.seawall.raw-stream"), (String = "text/plain"))
    ))
)]
pub(super) async fn open(
    State(api): State<Api>,
    headers: HeaderMap,
    Reference(id): Reference,
    Query(options): Query<Options>,
) -> Result<Response, Problem> {
    if !options.stdout && !options.stderr {
        return Err(Problem::field(Kind::Invalid, "stdout", "neither stdout nor stderr: there is nothing to give"));
    }
    let Options { follow, incarnation, tail, since, until, stdout, stderr, timestamps } = options;
    let options = LogOptions { follow, tail, since, until, stdout, stderr, timestamps };
    let id = api.control.resolve(&id)?;
    let logs = match incarnation {
        Some(incarnation) => api.control.logs_of(&id, incarnation, options).await?,
        None => api.control.logs(&id, options).await?,
    };
    let form = if accepts(&headers, PLAIN) { Form::Plain } else { Form::Framed };
    let body = Body::from_stream(written(logs, form, api.drain.clone()));
    Ok(([(CONTENT_TYPE, form.media_type())], body).into_response())
}

const PLAIN: &str = "text/plain";

/// How a log is written.
#[derive(Clone, Copy)]
enum Form {
    /// See [`frame`].
    Framed,
    /// The bytes alone. A log that breaks off breaks the connection: there is no other way to say it.
    Plain,
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Framed => frame::MEDIA_TYPE,
            Self::Plain => PLAIN,
        }
    }

    fn chunk(self, chunk: LogChunk) -> Vec<Result<Bytes, Broken>> {
        match self {
            Self::Framed => vec![Ok(frame::header(&chunk)), Ok(chunk.bytes)],
            Self::Plain => vec![Ok(chunk.bytes)],
        }
    }

    fn broken(self, problem: Problem) -> Vec<Result<Bytes, Broken>> {
        match self {
            Self::Framed => vec![Ok(Frame::Error(Box::new(problem)).encode())],
            Self::Plain => vec![Err(Broken(problem.detail))],
        }
    }
}

/// Why a plain log breaks off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

/// The chunks, until the stream ends, breaks, or the daemon goes down.
fn written(logs: LogStream, form: Form, drain: CancellationToken) -> impl Stream<Item = Result<Bytes, Broken>> {
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
                    return Some((form.broken(problem(Kind::ShuttingDown, detail, trace_id)), None));
                }
                // Cancel-safe: a stream keeps what was not taken.
                next = logs.next() => next,
            };
            match next? {
                Ok(chunk) => Some((form.chunk(chunk), Some(logs))),
                Err(error) => {
                    let detail = format!("the log broke off: {}", crate::exit::chain(&error));
                    Some((form.broken(problem(Kind::Unavailable, detail, trace_id)), None))
                }
            }
        }
    })
    .flat_map(stream::iter)
}

/// Why the stream cannot go on.
fn problem(kind: Kind, detail: impl Into<String>, trace_id: Option<TraceId>) -> Problem {
    Problem { trace_id, ..Problem::new(kind, detail) }
}
