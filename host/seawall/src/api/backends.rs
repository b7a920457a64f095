//! `/v1/backends`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use seawall_control::{BackendStatus, Gc};
use serde::Deserialize;

use super::Api;
use super::extract::{Query, Reference};
use super::respond::shown;
use crate::problem::{Kind, Problem};

pub(super) async fn list(State(api): State<Api>) -> Response {
    axum::Json(api.control.overview()).into_response()
}

pub(super) async fn show(State(api): State<Api>, Reference(name): Reference) -> Result<Response, Problem> {
    Ok(axum::Json(find(&api, &name)?).into_response())
}

fn find(api: &Api, name: &str) -> Result<BackendStatus, Problem> {
    let known = name.parse().ok().and_then(|name| api.control.backend(&name));
    let detail =
        || format!("there is no backend {:?}: `seawall backend ls` lists those that are configured", shown(name));
    known.ok_or_else(|| Problem::new(Kind::NotFound, detail()))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cleaning {
    dry_run: bool,
    confirm: bool,
}

pub(super) async fn gc(
    State(api): State<Api>,
    Reference(name): Reference,
    Query(query): Query<Cleaning>,
) -> Result<Response, Problem> {
    let gc = match query {
        Cleaning { dry_run: true, confirm: true } => {
            return Err(Problem::field(Kind::Malformed, "confirm", "with `dry_run` there is nothing to confirm"));
        }
        Cleaning { dry_run: true, .. } => Gc::DryRun,
        Cleaning { confirm: true, .. } => Gc::Confirmed,
        Cleaning { .. } => Gc::Share,
    };
    let name = find(&api, &name)?.name;
    Ok(axum::Json(api.control.gc(&name, gc).await?).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Confirming {
    dry_run: bool,
}

pub(super) async fn confirm_lost(
    State(api): State<Api>,
    Reference(name): Reference,
    Query(query): Query<Confirming>,
) -> Result<Response, Problem> {
    let name = find(&api, &name)?.name;
    Ok(axum::Json(api.control.confirm_lost(&name, query.dry_run).await?).into_response())
}
