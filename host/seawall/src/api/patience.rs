//! How long a request may take. Streams are answered when they begin, and are bounded by who reads them.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::{Kind, Problem};

/// A body that has not come to its end by then is given up.
pub(super) const BODY: Duration = Duration::from_secs(30);
/// A request that has nothing to wait for.
const QUICK: Duration = Duration::from_secs(60);
/// A request that waits for sessions, backends or plugins, each within a bound of its own.
const HELD: Duration = Duration::from_secs(600);

/// Bounds a request that has nothing to wait for.
pub(super) async fn quick(request: Request, next: Next) -> Response {
    within(QUICK, request, next).await
}

/// Bounds a request that is held on purpose.
pub(super) async fn held(request: Request, next: Next) -> Response {
    within(HELD, request, next).await
}

async fn within(patience: Duration, request: Request, next: Next) -> Response {
    // What a request began to change goes on without it: see `Control::request`.
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!(
                "there was no answer within {} s; what was asked for may be done all the same: look",
                patience.as_secs()
            );
            Problem::new(Kind::TimedOut, detail).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::api::extract::Json;

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_never_answers_is_given_up() {
        let router =
            Router::new().route("/never", get(std::future::pending::<()>)).layer(axum::middleware::from_fn(quick));
        let request = Request::builder().uri("/never").body(Body::empty()).unwrap();
        let Ok(response) = TowerToHyperService::new(router).call(request).await;
        assert_eq!(response.status(), 504);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let first = futures_util::stream::once(async { Ok::<_, std::io::Error>("{") });
        let body = Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::pending()));
        let request = Request::builder().header("content-type", "application/json").body(body).unwrap();
        let read = <Json<serde_json::Value> as axum::extract::FromRequest<()>>::from_request(request, &()).await;
        assert_eq!(read.err().map(|problem| problem.status), Some(408));
    }
}
