//! `POST /v1/backends/{name}/images`: an image is fetched, and how far it is told as server-sent events.
//!
//! There is no task: the image is fetched while the connection asks for more, and given up when that is gone.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use seawall_backend::{Error, Preparation, Progress, trace};
use seawall_model::TraceId;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Api;
use super::backends::find;
use super::extract::{Json, Reference};
use super::openapi::OfBackend;
use super::sse;
use crate::problem::{Kind, Problem};

/// An image that is wanted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedImage)]
pub(crate) struct Wanted {
    /// As the engine writes it, such as `busybox:latest`. Without a tag: `latest`.
    pub(crate) reference: String,
    /// Only if there is none of that name. Default: false, which fetches what is newer.
    #[serde(default)]
    pub(crate) missing: bool,
}

/// Fetch an image.
///
/// Server-sent events, until the image is there. See "Images" in the description of the API.
#[utoipa::path(
    post, path = "/v1/backends/{name}/images", operation_id = "fetch_image",
    tag = "backends", params(OfBackend), request_body = Wanted,
    responses((status = 200, description = "How far it is", content((Progress = "text/event-stream"))))
)]
pub(super) async fn prepare(
    State(api): State<Api>,
    Reference(name): Reference,
    Json(wanted): Json<Wanted>,
) -> Result<Response, Problem> {
    let name = find(&api, &name)?.name;
    let progress = api.control.prepare(&name, &wanted.reference, wanted.missing).await?;
    Ok(sse::answer(told(progress, api.drain.clone())))
}

/// What is told until it is done, fails, or the daemon goes down.
fn told(progress: Preparation, drain: CancellationToken) -> impl Stream<Item = Bytes> {
    // The body is written after the request's trace is over.
    let trace_id = trace::current();
    stream::unfold(Some(progress), move |progress| {
        let drain = drain.clone();
        async move {
            let mut progress = progress?;
            let next = tokio::select! {
                biased;
                // Cancel-safe, all: a stream keeps what was not taken, and is dropped with the daemon.
                () = drain.cancelled() => {
                    let problem = Problem::new(Kind::ShuttingDown, "the daemon is shutting down, and the image is given up");
                    return Some((failed(problem, trace_id), None));
                }
                next = progress.next() => next,
                () = tokio::time::sleep(sse::ALIVE) => return Some((sse::COMMENT, Some(progress))),
            };
            Some(match next {
                Some(Ok(told)) => (sse::message("progress", &told), Some(progress)),
                Some(Err(error)) => (failed(problem(error), trace_id), None),
                None => (sse::message("done", &serde_json::json!({})), None),
            })
        }
    })
}

fn problem(error: Error) -> Problem {
    error.into()
}

fn failed(problem: Problem, trace_id: Option<TraceId>) -> Bytes {
    sse::message("failed", &Problem { trace_id, ..problem })
}
