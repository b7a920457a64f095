//! Server-sent events, as the HTML standard has them.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde::Serialize;

/// A [comment](COMMENT) this often, so that a connection that is gone is noticed.
pub(super) const ALIVE: Duration = Duration::from_secs(15);
/// What a reader passes over.
pub(super) const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// An answer that goes on for as long as these come.
pub(super) fn answer(messages: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(messages.map(Ok::<_, Infallible>))).into_response()
}

/// An event.
pub(super) fn message(event: &str, data: &impl Serialize) -> Bytes {
    // JSON has no line breaks outside of strings, and escapes them inside.
    let data = serde_json::to_string(data).unwrap_or_default();
    let event: String = event.chars().filter(|c| !c.is_control()).collect();
    Bytes::from(format!("event: {event}\ndata: {data}\n\n"))
}

/// An event that a reader can go on after.
pub(super) fn numbered(id: u64, event: &str, data: &impl Serialize) -> Bytes {
    Bytes::from([format!("id: {id}\n").as_bytes(), &message(event, data)].concat())
}
