//! Schemas that no derive can write: of what is read from and written as a text, or as a text or a number.

use std::borrow::Cow;

use utoipa::openapi::schema::{AnyOfBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::{Cpus, RestartPolicy, Signal, Size, signal};

/// Stands for a [`Duration`](std::time::Duration) that is written with units.
#[derive(Debug)]
pub struct Span;

/// The most usual of what humantime reads, and all that it writes.
const SPAN: &str =
    "^(0|[0-9]{1,9}(ns|us|ms|s|m|h|days?|d|months?|years?|y)( [0-9]{1,9}(ns|us|ms|s|m|h|days?|d|months?|years?|y))*)$";

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

/// Stands for a `u64` that may be as large as it can: no format has a name for that.
#[derive(Debug)]
pub struct Amount;

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(u64::MAX)).into()
    }
}

impl ToSchema for Amount {}

/// Stands for an [`IpAddr`](std::net::IpAddr).
#[derive(Debug)]
pub struct Address;

impl PartialSchema for Address {
    fn schema() -> RefOr<Schema> {
        let of =
            |format| ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)));
        let either = AnyOfBuilder::new().item(of(KnownFormat::Ipv4)).item(of(KnownFormat::Ipv6));
        either.description(Some("An IP address.")).examples([serde_json::json!("127.0.0.1")]).into()
    }
}

impl ToSchema for Address {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Address")
    }
}

impl PartialSchema for Size {
    fn schema() -> RefOr<Schema> {
        let written = text("With a unit, or whole bytes; `k`, `m` and `g` are binary, as in Docker.")
            .pattern(Some(concat!(
                "^ *([0-9]{1,19}|1[0-7][0-9]{18}|18[0-4][0-9]{17}|",
                "[0-9]{1,20}(\\.[0-9]{1,3})? *([kKmMgGtT]|[kKmMgGtT][iI]?[bB]|[bB])) *$"
            )))
            .examples(["64MiB"]);
        let bytes = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(u64::MAX));
        let bytes = bytes.description(Some("Bytes."));
        let either = OneOfBuilder::new().item(written).item(bytes);
        either.description(Some("A number of bytes; answers have it with a unit.")).into()
    }
}

impl ToSchema for Size {}

impl PartialSchema for Cpus {
    fn schema() -> RefOr<Schema> {
        let number: Object = ObjectBuilder::new()
            .schema_type(Type::Number)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)))
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
        text.pattern(Some("^(never|no|on-failure(:[1-9][0-9]{0,9})?|always)$")).examples(["on-failure:5"]).into()
    }
}

impl ToSchema for RestartPolicy {}

impl PartialSchema for Signal {
    fn schema() -> RefOr<Schema> {
        let names = signal::NAMES.join("|");
        let pattern = format!("^((SIG)?({names})|[1-9]|[1-5][0-9]|6[0-4])$");
        let text = text("A Linux signal, 1 to 64. Reads as `TERM`, `SIGTERM` or `15`; writes as `SIGTERM`.");
        text.pattern(Some(pattern)).examples(["SIGTERM"]).into()
    }
}

impl ToSchema for Signal {}
