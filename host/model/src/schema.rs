//! Schemas that no derive can write: of what is read from and written as a text, or as a text or a number.

use std::borrow::Cow;

use utoipa::openapi::schema::{Object, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::{Cpus, RestartPolicy, Size};

/// Stands for a [`Duration`](std::time::Duration) that is written with units.
#[derive(Debug)]
pub struct Span;

/// The most usual of what humantime reads, and all that it writes.
const SPAN: &str =
    "^[0-9]{1,9}(ns|us|ms|s|m|h|days?|d|months?|years?|y)( [0-9]{1,9}(ns|us|ms|s|m|h|days?|d|months?|years?|y))*$";

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        let text = text("A length of time: numbers with units, such as `10s`, `1m 30s` or `500ms`.");
        text.pattern(Some(SPAN)).examples(["1m 30s"]).into()
    }
}

impl ToSchema for Span {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Duration")
    }
}

impl PartialSchema for Size {
    fn schema() -> RefOr<Schema> {
        let written = text("With a unit; `k`, `m` and `g` are binary, as in Docker.")
            .pattern(Some("^ *[0-9]{1,20}(\\.[0-9]{1,3})? *([kKmMgGtT]?|[kKmMgGtT][iI]?[bB]|[bB]) *$"))
            .examples(["64MiB"]);
        let bytes = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).description(Some("Bytes."));
        let either = OneOfBuilder::new().item(written).item(bytes);
        either.description(Some("A number of bytes; answers have it with a unit.")).into()
    }
}

impl ToSchema for Size {}

impl PartialSchema for Cpus {
    fn schema() -> RefOr<Schema> {
        let number: Object = ObjectBuilder::new()
            .schema_type(Type::Number)
            .format(Some(SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Double)))
            .minimum(Some(0.001))
            .maximum(Some(100_000))
            .examples([1.5])
            .description(Some("A number of processors, in steps of a thousandth."))
            .build();
        number.into()
    }
}

impl ToSchema for Cpus {}

impl PartialSchema for RestartPolicy {
    fn schema() -> RefOr<Schema> {
        let text =
            text("What happens when a session ends by itself: `never`, `on-failure`, `on-failure:5` or `always`.");
        text.pattern(Some("^(never|no|on-failure(:[1-9][0-9]{0,8})?|always)$")).examples(["on-failure:5"]).into()
    }
}

impl ToSchema for RestartPolicy {}
