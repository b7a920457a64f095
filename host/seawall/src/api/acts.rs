//! `/v1/sessions/{id}/kill` and `/restart`.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use seawall_model::{SessionState, Signal};
use serde::Deserialize;

use super::extract::{Query, Reference};
use super::sessions::{Goal, LONGEST_HOLD, bounded, hold};
use super::{Api, Until};
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Killing {
    /// What is sent.
    signal: Signal,
    /// Answer when the session is over.
    wait: bool,
}

impl Default for Killing {
    fn default() -> Self {
        Self { signal: Signal::KILL, wait: false }
    }
}

pub(super) async fn kill(
    State(api): State<Api>,
    Reference(id): Reference,
    Query(query): Query<Killing>,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let session = api.control.kill(&id, query.signal).await?;
    match query.wait {
        true => hold(&api, &id, Until::Ended.into(), LONGEST_HOLD).await,
        false => Ok(axum::Json(session).into_response()),
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Restarting {
    /// Answer when the next incarnation runs, has ended, or could not be started for now.
    wait: bool,
    /// How long after the stop signal it is killed.
    #[serde(with = "humantime_serde::option")]
    grace: Option<Duration>,
}

pub(super) async fn restart(
    State(api): State<Api>,
    Reference(id): Reference,
    Query(query): Query<Restarting>,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let session = api.control.restart(&id, bounded(query.grace)?).await?;
    if !query.wait {
        return Ok(axum::Json(session).into_response());
    }
    // One that runs has an incarnation to go; of any other the next one is in the answer.
    let runs = matches!(session.last_state.unwrap_or(session.state), SessionState::Running | SessionState::Paused);
    let after = if runs { session.incarnation } else { 0 };
    hold(&api, &id, Goal { until: Until::Settled, after }, LONGEST_HOLD).await
}
