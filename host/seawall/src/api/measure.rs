//! How long the requests take, by the address as it is described.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::metrics::Metrics;

/// An address that is none has no name: whoever asks for very many makes no series of them.
const NOWHERE: &str = "none";

/// Answers a request, and counts it.
pub(super) async fn count(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or(NOWHERE, MatchedPath::as_str);
    metrics.answered(method.as_str(), route, response.status().as_u16(), begun.elapsed());
    response
}
