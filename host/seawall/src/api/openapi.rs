//! `/openapi.json`: the description of the API, made of the handlers that answer.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::Response as Described;
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoParams, OpenApi};

use crate::problem::Problem;

/// What no handler says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Seawall",
        description = include_str!("openapi.md"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact()
    ),
    servers((url = "http://seawall", description = "The Unix socket; the host's name goes nowhere")),
    tags(
        (name = "sessions", description = "Sessions: what runs, ran and should run"),
        (name = "events", description = "What happened"),
        (name = "backends", description = "What sessions run on"),
        (name = "daemon", description = "The daemon itself"),
    ),
    components(schemas(Problem, seawall_store::Event))
)]
struct Frame;

/// The document without any address.
pub(super) fn frame() -> Document {
    Frame::openapi()
}

/// The whole document.
pub(super) fn document() -> Document {
    let mut document = super::routes().into_openapi();
    let operations = document.paths.paths.values_mut().flat_map(|item| {
        let all = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        all.into_iter().flatten()
    });
    operations.for_each(may_fail);
    document
}

/// Any request may be answered with a problem.
fn may_fail(operation: &mut Operation) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let answer: Described =
        ResponseBuilder::new().description("What went wrong").content("application/problem+json", problem).build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(answer));
}

static WRITTEN: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec_pretty(&document()).map(Bytes::from).unwrap_or_default());

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi",
    tag = "daemon", responses((status = 200, body = Object))
)]
pub(super) async fn show() -> Response {
    ([(CONTENT_TYPE, "application/json")], WRITTEN.clone()).into_response()
}

/// Which session an address means.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the derive")]
pub(super) struct OfSession {
    /// Its id, the beginning of its id (4 digits or more), or its name.
    #[param(min_length = 1, max_length = 128)]
    id: String,
}

/// Which backend an address means.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the derive")]
pub(super) struct OfBackend {
    /// As configured.
    #[param(min_length = 1, max_length = 128)]
    name: String,
}
