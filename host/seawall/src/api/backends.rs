//! `/v1/backends`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use seawall_control::{BackendStatus, Cleanup, Gc, Lost, Overview};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::extract::{Query, Reference};
use super::openapi::OfBackend;
use super::respond::shown;
use crate::problem::{Kind, Problem};

/// Every backend, and what that comes to.
#[utoipa::path(
    get, path = "/v1/backends", operation_id = "list_backends",
    tag = "backends", responses((status = 200, body = Overview))
)]
pub(super) async fn list(State(api): State<Api>) -> Response {
    axum::Json(api.control.overview()).into_response()
}

/// One backend: its health, its plugin, and what its bulkhead keeps apart.
#[utoipa::path(
    get, path = "/v1/backends/{name}", operation_id = "show_backend",
    tag = "backends", params(OfBackend), responses((status = 200, body = BackendStatus))
)]
pub(super) async fn show(State(api): State<Api>, Reference(name): Reference) -> Result<Response, Problem> {
    Ok(axum::Json(find(&api, &name)?).into_response())
}

pub(super) fn find(api: &Api, name: &str) -> Result<BackendStatus, Problem> {
    let known = name.parse().ok().and_then(|name| api.control.backend(&name));
    let detail =
        || format!("there is no backend {:?}: `seawall backend ls` lists those that are configured", shown(name));
    known.ok_or_else(|| Problem::new(Kind::NotFound, detail()))
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Cleaning {
    /// Only show what would be removed.
    dry_run: bool,
    /// Remove them however many they are. Not with `dry_run`.
    confirm: bool,
}

/// Remove workloads that no session owns.
///
/// Lists everything that the backend has and removes what belongs to no session, as each sweep does: seen twice, the
/// grace over, and not too many at once unless that is confirmed.
#[utoipa::path(
    post, path = "/v1/backends/{name}/gc", operation_id = "clean_up_backend",
    tag = "backends", params(OfBackend, Cleaning),
    responses((status = 200, body = Cleanup))
)]
pub(super) async fn gc(
    State(api): State<Api>,
    Reference(name): Reference,
    Query(query): Query<Cleaning>,
) -> Result<Response, Problem> {
    let gc = match query {
        Cleaning { dry_run: true, confirm: true } => {
            return Err(Problem::field(Kind::Invalid, "confirm", "with `dry_run` there is nothing to confirm"));
        }
        Cleaning { dry_run: true, .. } => Gc::DryRun,
        Cleaning { confirm: true, .. } => Gc::Confirmed,
        Cleaning { .. } => Gc::Share,
    };
    let name = find(&api, &name)?.name;
    Ok(axum::Json(api.control.gc(&name, gc).await?).into_response())
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Confirming {
    /// Only show what would be taken as gone.
    dry_run: bool,
}

/// Take as gone what a backend leaves out of a complete listing, however much that is.
///
/// Only sessions that a sweep has missed before are meant.
#[utoipa::path(
    post, path = "/v1/backends/{name}/confirm-lost", operation_id = "confirm_lost",
    tag = "backends", params(OfBackend, Confirming), responses((status = 200, body = Lost))
)]
pub(super) async fn confirm_lost(
    State(api): State<Api>,
    Reference(name): Reference,
    Query(query): Query<Confirming>,
) -> Result<Response, Problem> {
    let name = find(&api, &name)?.name;
    Ok(axum::Json(api.control.confirm_lost(&name, query.dry_run).await?).into_response())
}
