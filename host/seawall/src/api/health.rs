//! `/healthz`, `/readyz`, `/metrics` and `/v1/version`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use seawall_control::{Phase, Summary};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Version};
use crate::metrics::MEDIA_TYPE;
use crate::problem::{Kind, Problem};

/// It answers, hence it lives.
#[utoipa::path(
    get, path = "/healthz", operation_id = "is_alive",
    tag = "daemon", responses((status = 200, body = String, content_type = "text/plain"))
)]
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Whether the daemon is ready.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// It is.
    ready: bool,
    /// How all backends together are.
    phase: Phase,
    /// Why not. Empty when it is.
    reasons: Vec<String>,
}

/// Ready when every backend had its first check, however it went: an engine that is down must not keep the others'
/// sessions waiting (B6). A backend that was added meanwhile is waited for as well.
#[utoipa::path(
    get, path = "/readyz", operation_id = "is_ready", tag = "daemon",
    responses((status = 200, body = Readiness), (status = 503, description = "Not ready", body = Readiness))
)]
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

/// What is measured, for Prometheus: the OpenMetrics text format.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics",
    tag = "daemon", responses((status = 200, body = String, content_type = MEDIA_TYPE))
)]
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let text = api.metrics.text(&api.control, api.version.started_at);
    let text = text.map_err(|_| Problem::new(Kind::Internal, "the metrics could not be written"))?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}

/// Who the daemon is.
#[utoipa::path(
    get, path = "/v1/version", operation_id = "version",
    tag = "daemon", responses((status = 200, body = Version))
)]
pub(super) async fn version(State(api): State<Api>) -> Response {
    axum::Json(&*api.version).into_response()
}
