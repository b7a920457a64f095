//! `POST /v1/reload`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::Api;
use super::extract::Query;
use crate::problem::Problem;
use crate::reload::Reloaded;

/// Nothing may be said about it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Have the configuration read again.
///
/// Adds, removes and restarts exactly the backends that changed. What is refused changes nothing.
#[utoipa::path(
    post, path = "/v1/reload", operation_id = "reload",
    tag = "daemon", responses((status = 200, body = Reloaded))
)]
pub(super) async fn reload(State(api): State<Api>, Query(Nothing {}): Query<Nothing>) -> Result<Response, Problem> {
    Ok(axum::Json(api.reload.reload().await?).into_response())
}
