//! The HTTP API, version 1, on a Unix socket.
//!
//! [`server`] owns the listener and every connection, and joins them; [`router`] says what stands where; one file a
//! group of addresses. Every error is a problem document (see [`crate::problem`]), those of axum and of the address
//! space itself included.
//!
//! Deliberately absent: decisions about sessions. A handler reads the request, asks [`Control`], and writes the answer.
//! `axum` is named in this folder only.

mod acts;
mod backends;
mod event_query;
mod events;
mod extract;
mod frame;
mod health;
mod logs;
mod reload;
mod respond;
mod server;
mod sessions;
mod state;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
mod trace;
mod until;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use bytes::Bytes;

pub(crate) use events::Missed;
pub(crate) use frame::{Frame, FrameReader, header as frame_header};
pub(crate) use server::{Server, WRITE_TIMEOUT, bind, check_path};
pub(crate) use sessions::Downed;
pub(crate) use state::{Api, Schemas, Version};
pub(crate) use until::Until;

/// The largest body that is read.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// What stands where.
pub(crate) fn router(api: Api) -> Router {
    let sessions = Router::new()
        .route("/", get(sessions::list).post(sessions::create))
        .route("/{id}", get(sessions::show).delete(sessions::remove))
        .route("/{id}/start", post(sessions::start))
        .route("/{id}/stop", post(sessions::stop))
        .route("/{id}/kill", post(acts::kill))
        .route("/{id}/restart", post(acts::restart))
        .route("/{id}/wait", get(sessions::wait))
        .route("/{id}/logs", get(logs::open))
        .route("/{id}/why", get(sessions::why));
    Router::new()
        .nest("/v1/sessions", sessions)
        .route("/v1/events", get(events::open))
        .route("/v1/backends", get(backends::list))
        .route("/v1/backends/{name}", get(backends::show))
        .route("/v1/backends/{name}/gc", post(backends::gc))
        .route("/v1/backends/{name}/confirm-lost", post(backends::confirm_lost))
        .route("/v1/down", post(sessions::down))
        .route("/v1/reload", post(reload::reload))
        .route("/v1/version", get(health::version))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(respond::no_such_address)
        .method_not_allowed_fallback(respond::no_such_method)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(trace::follow))
        .with_state(api)
}

/// Two of the routes with nothing behind them, below the same layers: each answers what is given here.
pub(crate) fn empty_router(list: Bytes, created: Bytes) -> Router {
    let json = || [(CONTENT_TYPE, "application/json")];
    let list = async move || (json(), list);
    let create = async move |_: Bytes| (StatusCode::CREATED, json(), created);
    Router::new()
        .route("/v1/sessions", get(list).post(create))
        .fallback(respond::no_such_address)
        .method_not_allowed_fallback(respond::no_such_method)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(trace::follow))
}
