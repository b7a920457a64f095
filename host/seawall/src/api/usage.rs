//! `/v1/stats`, and `stats` and `endpoints` of a session.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use seawall_control::{Glance, Sample, SessionUsage};
use seawall_model::{BackendName, Endpoint};
use utoipa::IntoParams;

use super::Api;
use super::extract::{Query, Reference};
use super::openapi::OfSession;
use super::respond::shown;
use crate::config::suggest;
use crate::problem::{Kind, Problem};

/// Which sessions are meant. Any value of each fits.
#[derive(Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Measured {
    /// Only this session: an id, the beginning of one, or a name. May be given several times.
    #[param(required = false)]
    session: Vec<String>,
    /// Only those of this backend. May be given several times.
    #[param(required = false)]
    backend: Vec<BackendName>,
}

/// A backend that takes longer answers too late for whoever looks at many.
const PATIENCE: Duration = Duration::from_secs(5);
/// Values of one parameter.
const MOST_VALUES: usize = 100;

impl Measured {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut measured = Self::default();
        for (key, value) in pairs {
            let wrong = |message: String| Problem::field(Kind::Malformed, shown(&key), message);
            match key.as_str() {
                "session" => measured.session.push(value),
                "backend" => {
                    let parsed = value.parse().map_err(|error: seawall_model::InvalidName| wrong(error.to_string()))?;
                    measured.backend.push(parsed);
                }
                _ => {
                    let unknown = format!("unknown field `{}`, expected one of `session`, `backend`", shown(&key));
                    return Err(wrong(suggest(&unknown)));
                }
            }
            if measured.session.len().max(measured.backend.len()) > MOST_VALUES {
                return Err(wrong(format!("at most {MOST_VALUES} times")));
            }
        }
        Ok(measured)
    }
}

/// What sessions use.
///
/// All that run and are meant, in one call to each backend. A backend that fails, takes longer than 5 s or cannot tell is
/// in `errors`, and costs no other its figures. Processor time, network and disk are counted since the start of an
/// incarnation: what is used now is the difference of two samples.
#[utoipa::path(
    get, path = "/v1/stats", operation_id = "measure_sessions",
    tag = "sessions", params(Measured), responses((status = 200, body = Sample))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let Measured { session, backend } = Measured::read(pairs)?;
    let all = session.is_empty();
    let sessions = session.iter().map(|text| api.control.resolve(text)).collect::<Result<BTreeSet<_>, _>>()?;
    if let Some(unknown) = backend.iter().find(|name| api.control.backend(name).is_none()) {
        let message = format!("there is no backend {unknown}: `seawall backend ls` lists those that are configured");
        return Err(Problem::field(Kind::NotFound, "backend", message));
    }
    let wanted = |glance: Glance<'_>| {
        (all || sessions.contains(glance.id)) && (backend.is_empty() || backend.contains(glance.backend))
    };
    Ok(axum::Json(api.control.usage(wanted, PATIENCE).await).into_response())
}

/// What a session uses.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/stats", operation_id = "measure_session",
    tag = "sessions", params(OfSession), responses((status = 200, body = SessionUsage))
)]
pub(super) async fn of_session(State(api): State<Api>, Reference(id): Reference) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    Ok(axum::Json(api.control.usage_of(&id).await?).into_response())
}

/// Where the ports of a session are reached.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/endpoints", operation_id = "list_endpoints",
    tag = "sessions", params(OfSession), responses((status = 200, body = [Endpoint]))
)]
pub(super) async fn endpoints(State(api): State<Api>, Reference(id): Reference) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    Ok(axum::Json(api.control.endpoints(&id).await?).into_response())
}
