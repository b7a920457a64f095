//! `/healthz`, `/readyz`, `/metrics` and `/v1/version`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use seawall_control::{Phase, Summary};
use serde::Serialize;

use super::Api;
use crate::metrics::MEDIA_TYPE;
use crate::problem::{Kind, Problem};

/// It answers, hence it lives.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    phase: Phase,
    /// Why not. Empty when it is.
    reasons: Vec<String>,
}

/// Ready when every backend had its first check, however it went: an engine that is down must not keep the others'
/// sessions waiting (B6). A backend that was added meanwhile is waited for as well.
pub(super) async fn ready(State(api): State<Api>) -> Response {
    let Summary { phase, unchecked, .. } = api.control.overview().summary;
    let mut reasons: Vec<String> =
        unchecked.iter().map(|backend| format!("backend {backend} had no check yet")).collect();
    if api.drain.is_cancelled() {
        reasons.push("the daemon is shutting down".to_owned());
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(Readiness { ready: reasons.is_empty(), phase, reasons })).into_response()
}

pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let text = api.metrics.text(&api.control, api.version.started_at);
    let text = text.map_err(|_| Problem::new(Kind::Internal, "the metrics could not be written"))?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}

pub(super) async fn version(State(api): State<Api>) -> Response {
    axum::Json(&*api.version).into_response()
}
