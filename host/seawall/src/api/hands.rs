//! `/v1/sessions/{id}/exec`, `/attach` and `/input`: bytes both ways, which no plugin sees.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use seawall_backend::{ExecEvent, Execution};
use seawall_model::{AttachOptions, ExecOptions, Secret, TerminalSize};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::extract::{Json, Query, Reference};
use super::openapi::OfSession;
use super::server::Own;
use super::upgrade::{Takeover, Upgrade, to_its_end};
use crate::problem::{Kind, Problem};

/// A command for a session.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewCommand {
    /// Program and arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required, min_items = 1)]
    pub(crate) command: Vec<String>,
    /// Over the session's own environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) env: BTreeMap<String, Secret>,
    /// An absolute path in the session. Default: the session's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) working_dir: Option<String>,
    /// A user name or number, and `:group`. Default: the session's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// It is killed so long after it began. Default: it may run as long as the session.
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<seawall_model::schema::Span>)]
    pub(crate) timeout: Option<Duration>,
    /// Give it a terminal: what it writes is then one stream.
    pub(crate) tty: bool,
    /// Of its terminal, to begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<Size>,
    /// Keep its standard input open for frames of kind 0. Otherwise it reads end of file.
    pub(crate) stdin: bool,
    /// Answer once it runs, with 204 and no stream. It goes on until it ends, its session does, or the daemon.
    pub(crate) detach: bool,
}

/// How much a terminal shows, in characters.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TerminalSize)]
pub(crate) struct Size {
    /// In a line.
    #[schema(minimum = 1, maximum = 65535)]
    pub(crate) columns: u16,
    /// Lines.
    #[schema(minimum = 1, maximum = 65535)]
    pub(crate) rows: u16,
}

impl Size {
    fn checked(self) -> Result<TerminalSize, Problem> {
        let Self { columns, rows } = self;
        if columns == 0 || rows == 0 {
            return Err(Problem::field(Kind::Malformed, "size", "a terminal has at least one column and one row"));
        }
        Ok(TerminalSize { columns, rows })
    }
}

/// Run a command in a session that runs.
///
/// With `Connection: Upgrade` and `Upgrade: seawall-stream` the answer is 101 and the connection goes on with frames: see
/// "Streams" in the description of the API. The command ends when the client closes the connection, where the engine can
/// end it, unless the client sent a frame that detaches it.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/exec", operation_id = "exec_in_session", tag = "sessions", params(OfSession),
    request_body = NewCommand,
    responses(
        (status = 101, description = "It runs: frames follow, both ways"),
        (status = 204, description = "It runs, detached")
    )
)]
pub(super) async fn exec(
    State(api): State<Api>,
    Reference(id): Reference,
    upgrade: Upgrade,
    Json(new): Json<NewCommand>,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    if new.command.first().is_none_or(String::is_empty) {
        return Err(Problem::field(Kind::Invalid, "command", "there must be a program to run"));
    }
    if new.detach && new.stdin {
        return Err(Problem::field(Kind::Invalid, "stdin", "a command that is detached is sent nothing"));
    }
    // Before anything runs.
    let way = if new.detach { Way::Detached(upgrade.own()?) } else { Way::Attached(upgrade.required()?) };
    let options = ExecOptions {
        command: new.command,
        env: new.env.into_iter().collect(),
        working_dir: new.working_dir,
        user: new.user,
        timeout: new.timeout,
        tty: new.tty,
        size: new.size.map(Size::checked).transpose()?,
        stdin: new.stdin,
    };
    let Execution { events, input } = api.control.exec(&id, &options).await?;
    let drain = api.drain.clone();
    let own = match way {
        Way::Attached(takeover) => return Ok(takeover.carry(events, input, drain)),
        Way::Detached(own) => own,
    };
    own.spawn(async move {
        let _input = input;
        to_its_end(events, &drain).await;
    });
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// With or without its client.
enum Way {
    Attached(Takeover),
    Detached(Own),
}

/// How to attach.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Attaching {
    /// What it writes to standard output, or its terminal. Default true.
    pub(crate) stdout: bool,
    /// What it writes to standard error. Default true.
    pub(crate) stderr: bool,
    /// Frames of kind 0 go to its standard input; only of a session with `stdin`.
    pub(crate) stdin: bool,
    /// Of its terminal. Default: as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<Size>,
}

impl Default for Attaching {
    fn default() -> Self {
        Self { stdout: true, stderr: true, stdin: false, size: None }
    }
}

/// Attach to a session that runs: what it writes from now on, and what it is sent.
///
/// Upgraded as `exec` is. It goes on when the client closes the connection; when it ends, the connection is closed.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/attach", operation_id = "attach_to_session", tag = "sessions", params(OfSession),
    request_body = Attaching, responses((status = 101, description = "Attached: frames follow, both ways"))
)]
pub(super) async fn attach(
    State(api): State<Api>,
    Reference(id): Reference,
    upgrade: Upgrade,
    Json(how): Json<Attaching>,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let takeover = upgrade.required()?;
    let Attaching { stdout, stderr, stdin, size } = how;
    if !(stdout || stderr || stdin) {
        return Err(Problem::field(Kind::Invalid, "stdout", "neither output nor input: there is nothing to attach to"));
    }
    let size = size.map(Size::checked).transpose()?;
    let attachment = api.control.attach(&id, &AttachOptions { stdout, stderr, stdin, size }).await?;
    let events = attachment.output.map(|chunk| chunk.map(ExecEvent::Output));
    Ok(takeover.carry(events, attachment.input, api.drain.clone()))
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Sending {
    /// Close the session's standard input after the last byte.
    close: bool,
}

/// How much was sent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Sent {
    /// Bytes.
    pub(crate) bytes: u64,
}

/// Send bytes to the standard input of a session that runs.
///
/// The body is sent on as it comes, however long it is, and no faster than the session reads it.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/input", operation_id = "send_to_session", tag = "sessions",
    params(OfSession, Sending), request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, body = Sent))
)]
pub(super) async fn send(
    State(api): State<Api>,
    Reference(id): Reference,
    Query(query): Query<Sending>,
    body: Body,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let mut input = api.control.input(&id).await?;
    let mut sent = 0;
    let broken = |error: std::io::Error, sent: u64| {
        let detail = format!("after {sent} bytes session {id} took no more: {}", crate::exit::chain(&error));
        let kind = if error.kind() == std::io::ErrorKind::Unsupported { Kind::Unsupported } else { Kind::Conflict };
        Problem::new(kind, detail)
    };
    let mut body = body;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::new(Kind::Malformed, format!("after {sent} bytes the body broke off: {error}"))
        })?;
        let Ok(bytes) = frame.into_data() else { continue };
        let length = bytes.len() as u64;
        tokio::select! {
            () = api.drain.cancelled() => {
                let detail = format!("the daemon is shutting down; {sent} bytes were sent");
                return Err(Problem::new(Kind::ShuttingDown, detail));
            }
            written = input.write(bytes) => written.map_err(|error| broken(error, sent))?,
        }
        sent += length;
    }
    if query.close {
        input.close().await.map_err(|error| broken(error, sent))?;
    }
    Ok(axum::Json(Sent { bytes: sent }).into_response())
}
