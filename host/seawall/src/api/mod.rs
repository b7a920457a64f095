//! The HTTP API, version 1, on a Unix socket and, where that is asked for, over TCP.
//!
//! [`socket`] and [`tcp`] bind, [`server`] owns what was bound and every connection, and joins them; [`audit`] and
//! [`admission`] say who asks and whether they may; [`routes`] says what stands where, and
//! `/openapi.json` is made of it (see [`openapi`]); one file a group of addresses. Every error is a problem document (see
//! [`crate::problem`]), those of axum and of the address space itself included.
//!
//! Deliberately absent: decisions about sessions. A handler reads the request, asks [`Control`], and writes the answer.
//! `axum` is named in this folder only.

mod acts;
mod admission;
mod audit;
mod backends;
mod conditional;
mod event_query;
mod events;
mod extract;
mod frame;
mod hands;
#[cfg(test)]
mod hands_tests;
mod health;
mod idempotency;
mod images;
mod listing;
mod logs;
mod measure;
mod openapi;
mod patience;
mod reload;
mod respond;
mod server;
mod sessions;
mod socket;
mod sse;
mod state;
#[cfg(test)]
mod stream_tests;
mod tcp;
#[cfg(test)]
mod tests;
mod tokens;
mod trace;
mod until;
mod upgrade;
mod usage;
mod written;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use audit::Peer;
pub(crate) use events::Missed;
pub(crate) use frame::{Ended, Frame, FrameReader, header as frame_header};
pub(crate) use hands::{Attaching, NewCommand, Sent, Size as ScreenSize};
pub(crate) use images::Wanted;
pub(crate) use server::{Door, Server, WRITE_TIMEOUT};
pub(crate) use sessions::Downed;
pub(crate) use socket::{bind, check as check_socket, check_path};
pub(crate) use state::{Api, Schemas, Version};
pub(crate) use tcp::{Certificate, listen};
pub(crate) use tokens::{Made, NewToken, TokenInfo};
pub(crate) use trace::parent as traceparent;
pub(crate) use until::Until;
pub(crate) use upgrade::PROTOCOL as STREAM_PROTOCOL;

use crate::empty::First;
use crate::metrics::Metrics;

/// The largest body that is read.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// What stands where, with the description of each: nothing stands anywhere that is not described.
fn routes() -> OpenApiRouter<Api> {
    let quick = OpenApiRouter::new()
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::show))
        .routes(routes!(logs::open))
        .routes(routes!(sessions::why))
        .routes(routes!(usage::list))
        .routes(routes!(usage::of_session))
        .routes(routes!(usage::endpoints))
        .routes(routes!(events::open))
        .routes(routes!(backends::list))
        .routes(routes!(backends::show))
        .routes(routes!(health::version))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::show))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .route_layer(axum::middleware::from_fn(patience::quick));
    let held = OpenApiRouter::new()
        .routes(routes!(sessions::create))
        .routes(routes!(sessions::remove))
        .routes(routes!(sessions::start))
        .routes(routes!(sessions::stop))
        .routes(routes!(acts::kill))
        .routes(routes!(acts::restart))
        .routes(routes!(acts::pause))
        .routes(routes!(acts::unpause))
        .routes(routes!(sessions::wait))
        .routes(routes!(backends::gc))
        .routes(routes!(backends::confirm_lost))
        .routes(routes!(images::prepare))
        .routes(routes!(sessions::down))
        .routes(routes!(reload::reload))
        .route_layer(axum::middleware::from_fn(patience::held));
    // Their bodies are read within bounds of their own, and what comes after is bounded by who reads it.
    let open =
        OpenApiRouter::new().routes(routes!(hands::exec)).routes(routes!(hands::attach)).routes(routes!(hands::send));
    OpenApiRouter::with_openapi(openapi::frame()).merge(quick).merge(held).merge(open)
}

/// The API over this state.
pub(crate) fn router(api: Api) -> Router {
    Router::from(routes())
        .fallback(respond::no_such_address)
        .method_not_allowed_fallback(respond::no_such_method)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(audit::note))
        .layer(axum::middleware::from_fn_with_state(api.clone(), admission::guard))
        .layer(axum::middleware::from_fn_with_state(api.metrics.clone(), measure::count))
        .layer(axum::middleware::from_fn(trace::follow))
        .with_state(api)
}

/// Two of the routes with nothing behind them, below the same layers: each answers what is given here, a creation after
/// it has done what there is to do `first`.
pub(crate) fn empty_router(list: Bytes, created: Bytes, first: Option<First>) -> Router {
    let json = || [(CONTENT_TYPE, "application/json")];
    let list = async move || (json(), list);
    let create = async move |_: Bytes| {
        if let Some(first) = first {
            tokio::task::block_in_place(|| first());
        }
        (StatusCode::CREATED, json(), created)
    };
    Router::new()
        .route("/v1/sessions", get(list).post(create))
        .fallback(respond::no_such_address)
        .method_not_allowed_fallback(respond::no_such_method)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(audit::note))
        .layer(axum::middleware::from_fn_with_state(Metrics::default(), measure::count))
        .layer(axum::middleware::from_fn(trace::follow))
}
