//! `/v1/sessions/{id}/kill`, `/restart`, `/pause` and `/unpause`.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use seawall_model::{Session, Signal};
use serde::Deserialize;
use utoipa::IntoParams;

use super::conditional::IfMatch;
use super::extract::{Query, Reference};
use super::openapi::{OfSession, SeenAs};
use super::sessions::{Goal, answer, bounded};
use super::{Api, Until};
use crate::problem::Problem;

#[derive(Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Killing {
    /// What is sent. Default: SIGKILL.
    signal: Signal,
    /// Answer when the session is over.
    wait: bool,
}

impl Default for Killing {
    fn default() -> Self {
        Self { signal: Signal::KILL, wait: false }
    }
}

/// Send a session a signal: SIGKILL, unless another is named.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/kill", operation_id = "kill_session",
    tag = "sessions", params(OfSession, Killing, SeenAs),
    responses(
        (status = 200, body = Session),
        (status = 202, description = "Not over yet, and it was waited long enough", body = Session)
    )
)]
pub(super) async fn kill(
    State(api): State<Api>,
    Reference(id): Reference,
    Query(query): Query<Killing>,
    expected: IfMatch,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let session = expected.hold(api.control.kill(&id, query.signal)).await?;
    answer(&api, &session, query.wait.then(|| Until::Ended.into())).await
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Restarting {
    /// Answer when the next incarnation runs, has ended, or could not be started for now.
    wait: bool,
    /// So long after the stop signal it is killed; at most 1h. Default: as in its spec.
    #[serde(with = "humantime_serde::option")]
    #[param(value_type = Option<seawall_model::schema::Span>)]
    grace: Option<Duration>,
}

/// Stop a session, if it runs, and start it again.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/restart", operation_id = "restart_session",
    tag = "sessions", params(OfSession, Restarting, SeenAs),
    responses(
        (status = 200, body = Session),
        (status = 202, description = "Not so yet, and it was waited long enough", body = Session)
    )
)]
pub(super) async fn restart(
    State(api): State<Api>,
    Reference(id): Reference,
    Query(query): Query<Restarting>,
    expected: IfMatch,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let session = expected.hold(api.control.restart(&id, bounded(query.grace)?)).await?;
    answer(&api, &session, query.wait.then(|| Goal { until: Until::Settled, after: session.outgoing() })).await
}

/// Freeze a session that runs.
///
/// It is done when this is answered; one that is frozen is left so.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/pause", operation_id = "pause_session",
    tag = "sessions", params(OfSession, SeenAs), responses((status = 200, body = Session))
)]
pub(super) async fn pause(
    State(api): State<Api>,
    Reference(id): Reference,
    expected: IfMatch,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let session = expected.hold(api.control.pause(&id)).await?;
    answer(&api, &session, None).await
}

/// Let a session run on that is frozen.
///
/// It is done when this is answered; one that runs is left so.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/unpause", operation_id = "unpause_session",
    tag = "sessions", params(OfSession, SeenAs), responses((status = 200, body = Session))
)]
pub(super) async fn unpause(
    State(api): State<Api>,
    Reference(id): Reference,
    expected: IfMatch,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let session = expected.hold(api.control.unpause(&id)).await?;
    answer(&api, &session, None).await
}
