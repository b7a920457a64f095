//! `/healthz`, `/readyz`, `/metrics` and `/v1/version`.
//!
//! They mean what Kubernetes means by a liveness and a readiness probe: one that is not alive is to be started anew, which
//! must help; one that is not ready is left alone until it is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use seawall_control::{Control, Phase, Summary};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::extract::Query;
use super::{Api, Version};
use crate::metrics::MEDIA_TYPE;
use crate::problem::{Kind, Problem};

/// How a probe is asked.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// A line for each thing that was looked at, as text; `?verbose` alone is enough.
    #[serde(default, deserialize_with = "flag")]
    #[param(required = false, inline, value_type = Flag)]
    verbose: bool,
}

/// A parameter that may stand alone.
struct Flag;

impl PartialSchema for Flag {
    fn schema() -> RefOr<Schema> {
        let flag = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Boolean, Type::String]));
        flag.enum_values(Some([json!(true), json!(false), json!("")])).default(Some(json!(false))).into()
    }
}

impl ToSchema for Flag {}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match &*String::deserialize(deserializer)? {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(serde::de::Error::custom("write verbose, verbose=true or verbose=false")),
    }
}

/// One thing that was looked at.
struct Check {
    name: String,
    /// Why not.
    failed: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, failed: Option<String>) -> Self {
        Self { name: name.into(), failed }
    }
}

/// As Kubernetes writes it.
fn listing(probe: &str, checks: &[Check]) -> String {
    let line = |Check { name, failed }: &Check| match failed {
        None => format!("[+]{name} ok\n"),
        Some(why) => format!("[-]{name} failed: {}\n", why.replace('\n', " ")),
    };
    let word = if checks.iter().all(|check| check.failed.is_none()) { "passed" } else { "failed" };
    checks.iter().map(line).chain([format!("{probe} check {word}\n")]).collect()
}

fn status(checks: &[Check]) -> StatusCode {
    let good = checks.iter().all(|check| check.failed.is_none());
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn store(control: &Control) -> Check {
    let ended = !control.store_stats().open;
    Check::new("store", ended.then(|| "what writes to the store has ended: nothing can be changed any more".to_owned()))
}

/// It answers, hence it lives; only a store that has ended is worth a new start. Engines that are away, and a daemon that
/// is shutting down, are not: the first would not come back for it, and the second is about to end.
#[utoipa::path(
    get, path = "/healthz", operation_id = "is_alive", tag = "daemon", params(Asked),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 503, description = "It is to be started anew", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn alive(State(api): State<Api>, Query(asked): Query<Asked>) -> Response {
    let checks = [Check::new("ping", None), store(&api.control)];
    let status = status(&checks);
    if asked.verbose {
        return (status, listing("healthz", &checks)).into_response();
    }
    (status, if status.is_success() { "ok\n" } else { "failed\n" }).into_response()
}

/// Whether the daemon is ready.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// It is.
    ready: bool,
    /// How all backends together are.
    phase: Phase,
    /// Why not. Empty when it is.
    reasons: Vec<String>,
}

/// Ready when its store is open and every backend had its first check, however it went: an engine that is down must not
/// keep the others' sessions waiting (B6). A backend that was added meanwhile is waited for as well. When no backend can
/// be used at all (phase `failed`), and from the moment on that it is told to end, it is not ready.
#[utoipa::path(
    get, path = "/readyz", operation_id = "is_ready", tag = "daemon", params(Asked),
    responses(
        (status = 200, content((Readiness = "application/json"), (String = "text/plain"))),
        (status = 503, description = "Not ready", content((Readiness = "application/json"), (String = "text/plain"))),
    )
)]
pub(super) async fn ready(State(api): State<Api>, Query(asked): Query<Asked>) -> Response {
    let overview = api.control.overview();
    let Summary { phase, unchecked, .. } = &overview.summary;
    let ending = api.drain.is_cancelled().then(|| "the daemon is shutting down".to_owned());
    let unusable = (*phase == Phase::Failed).then(|| "no backend can be used".to_owned());
    let mut checks = vec![store(&api.control), Check::new("shutdown", ending), Check::new("backends", unusable)];
    checks.extend(overview.backends.iter().map(|status| {
        let first = unchecked.contains(&status.name).then(|| format!("backend {} had no check yet", status.name));
        let name = match first {
            Some(_) => format!("backend-{}", status.name),
            None => format!("backend-{} ({})", status.name, status.health),
        };
        Check::new(name, first)
    }));
    let status = status(&checks);
    if asked.verbose {
        return (status, listing("readyz", &checks)).into_response();
    }
    let reasons = checks.into_iter().filter_map(|check| check.failed).collect();
    (status, axum::Json(Readiness { ready: status.is_success(), phase: *phase, reasons })).into_response()
}

/// What is measured, for Prometheus: the OpenMetrics text format.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics",
    tag = "daemon", responses((status = 200, body = String, content_type = MEDIA_TYPE))
)]
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let text = api.metrics.text(&api.control, api.version.started_at).await;
    let text = text.map_err(|_| Problem::new(Kind::Internal, "the metrics could not be written"))?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}

/// Who the daemon is.
#[utoipa::path(
    get, path = "/v1/version", operation_id = "version",
    tag = "daemon", responses((status = 200, body = Version))
)]
pub(super) async fn version(State(api): State<Api>) -> Response {
    axum::Json(&*api.version).into_response()
}
