//! `/openapi.json`: the description of the API, made of the handlers that answer.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter};
use utoipa::openapi::response::Response as Described;
use utoipa::openapi::schema::{AdditionalProperties, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, ContentBuilder, ObjectBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::openapi::{KnownFormat, SchemaFormat};
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
    servers((url = "/", description = "Where this document came from; on the Unix socket the host's name goes nowhere")),
    security((), ("token" = [])),
    modifiers(&Bearer),
    tags(
        (name = "sessions", description = "Sessions: what runs, ran and should run"),
        (name = "events", description = "What happened"),
        (name = "backends", description = "What sessions run on"),
        (name = "daemon", description = "The daemon itself"),
        (name = "tokens", description = "Who may use the API over TCP"),
    ),
    components(schemas(Problem, seawall_store::Event))
)]
struct Frame;

/// How a request over TCP says whose it is.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let scheme = scheme.description(Some("Over TCP only: what `seawall token create` prints"));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

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
    operations.for_each(|operation| {
        operation.parameters.iter_mut().flatten().for_each(never_null);
        operation.responses.responses.values_mut().for_each(tagged);
        may_fail(operation);
    });
    document.components.iter_mut().flat_map(|components| components.schemas.values_mut()).for_each(|schema| {
        closed(schema);
        wide(schema);
    });
    document
}

/// A parameter is given or is not: in an address and in a header nobody can write `null`.
fn never_null(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(Parameter { schema: Some(schema), .. }) = parameter else { return };
    let without = |kind: &mut SchemaType| {
        if let SchemaType::Array(types) = kind {
            types.retain(|kind| *kind != Type::Null);
            if let [one] = types.as_slice() {
                *kind = SchemaType::Type(one.clone());
            }
        }
    };
    let null =
        |item: &RefOr<Schema>| matches!(item, RefOr::T(Schema::Object(it)) if it.schema_type == Type::Null.into());
    match schema {
        RefOr::T(Schema::Object(object)) => without(&mut object.schema_type),
        RefOr::T(Schema::Array(array)) => without(&mut array.schema_type),
        RefOr::T(Schema::OneOf(either)) => {
            either.items.retain(|item| !null(item));
            if let [one] = either.items.as_slice() {
                *schema = one.clone();
            }
        }
        RefOr::T(_) | RefOr::Ref(_) => {}
    }
}

/// What is one of several, each under its own name, has that name and no other.
fn closed(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::OneOf(either)) = schema else { return };
    for item in &mut either.items {
        if let RefOr::T(Schema::Object(variant)) = item
            && variant.properties.len() == 1
            && variant.properties.keys().eq(&variant.required)
        {
            variant.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

/// Any request may be answered with a problem.
fn may_fail(operation: &mut Operation) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let answer: Described =
        ResponseBuilder::new().description("What went wrong").content("application/problem+json", problem).build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(answer));
}

/// A session is answered with its tag.
fn tagged(answer: &mut RefOr<Described>) {
    let RefOr::T(answer) = answer else { return };
    let session = |schema: &RefOr<Schema>| matches!(schema, RefOr::Ref(to) if to.ref_location.ends_with("/Session"));
    let content = |content: &RefOr<Content>| match content {
        RefOr::T(content) => content.schema.as_ref().is_some_and(session),
        RefOr::Ref(_) => false,
    };
    if answer.content.values().any(content) {
        let tag = HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String)));
        let tag = tag.description(Some("Of the session as it is shown: for `If-Match` and `If-None-Match`"));
        answer.headers.insert("ETag".to_owned(), RefOr::T(tag.build()));
    }
}

/// A number of 32 bits without a sign is none of `int32`.
fn wide(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    let narrow = Some(SchemaFormat::KnownFormat(KnownFormat::Int32));
    for property in object.properties.values_mut() {
        if let RefOr::T(Schema::Object(number)) = property
            && number.format == narrow
            && number.minimum.is_some()
        {
            number.format = Some(SchemaFormat::KnownFormat(KnownFormat::Int64));
            number.maximum.get_or_insert(u32::MAX.into());
        }
    }
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

/// Which token an address means.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the derive")]
pub(super) struct OfToken {
    /// Its name or its id.
    #[param(min_length = 1, max_length = 128)]
    name: String,
}

/// A change only of what was seen.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive")]
pub(super) struct SeenAs {
    /// Only if the session is still as an answer with this `ETag` has it: else it is left alone, and the answer is 412.
    #[param(
        rename = "If-Match",
        required = false,
        pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*"){0,99})$"#
    )]
    tag: Option<String>,
}

/// An answer only with what is new.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive")]
pub(super) struct KnownAs {
    /// Only if the session is another one than an answer with this `ETag` has it: else the answer is 304.
    #[param(
        rename = "If-None-Match",
        required = false,
        pattern = r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*"){0,99})$"#
    )]
    tag: Option<String>,
}

/// A request that may be sent again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive")]
pub(super) struct WithKey {
    /// Of the client's choice, for instance a random one. Sent again with the same key within a day, the same request makes
    /// nothing new, and is answered with the session that it made; another request with that key is refused with 422.
    #[param(rename = "Idempotency-Key", required = false, min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    key: Option<String>,
}
