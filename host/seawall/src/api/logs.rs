//! `GET /v1/sessions/{id}/logs`: the backend's own stream, framed or as it is.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use seawall_model::{Incarnation, LogOptions, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::extract::{Query, Reference, accepts, some_number};
use super::frame;
use super::openapi::OfSession;
use super::written::{Form, Written};
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
    let media_type = match form {
        Form::Framed => frame::MEDIA_TYPE,
        Form::Plain => PLAIN,
    };
    let body = Body::from_stream(Written::new(logs, form, api.drain.clone()));
    Ok(([(CONTENT_TYPE, media_type)], body).into_response())
}

const PLAIN: &str = "text/plain";
