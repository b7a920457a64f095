//! `/v1/backends`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::extract::Reference;
use super::respond::shown;
use crate::problem::{Kind, Problem};

pub(super) async fn list(State(api): State<Api>) -> Response {
    axum::Json(api.control.overview()).into_response()
}

pub(super) async fn show(State(api): State<Api>, Reference(name): Reference) -> Result<Response, Problem> {
    let known = name.parse().ok().and_then(|name| api.control.backend(&name));
    let detail =
        || format!("there is no backend {:?}: `seawall backend ls` lists those that are configured", shown(&name));
    let status = known.ok_or_else(|| Problem::new(Kind::NotFound, detail()))?;
    Ok(axum::Json(status).into_response())
}
