//! `/v1/sessions` and `/v1/down`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, LINK, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use seawall_control::{ControlError, Why};
use seawall_model::{Incarnation, Session, SessionId, SessionSpec};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::conditional::{IfMatch, IfNoneMatch, Tagged};
use super::extract::{Json, Query, Reference, number};
use super::idempotency::{self, IdempotencyKey};
use super::listing::Listing;
use super::openapi::{KnownAs, OfSession, SeenAs, WithKey};
use super::{Api, Until};
use crate::problem::{Kind, Problem};

/// Sessions, oldest first.
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "list_sessions",
    tag = "sessions", params(Listing), responses((
        status = 200, body = [Session], headers(("Link" = String, description = "Where the next page is, if there is one"))
    ))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let listing = Listing::read(&pairs)?;
    let page = listing.page();
    let defect = |error| Problem::new(Kind::Internal, format!("the list could not be written: {error}"));
    let documents = api.control.documents(|session| page.takes(&session)).map_err(defect)?;
    let mut response = json_array(&documents).into_response();
    if let Some(next) = page.next() {
        response.headers_mut().insert(LINK, next);
    }
    Ok(response)
}

/// An array of what is JSON already.
fn json_array(documents: &[Arc<str>]) -> impl IntoResponse + use<> {
    let length = documents.iter().map(|document| document.len() + 1).sum::<usize>() + 2;
    let mut body = String::with_capacity(length);
    body.push('[');
    for document in documents {
        if body.len() > 1 {
            body.push(',');
        }
        body.push_str(document);
    }
    body.push(']');
    ([(CONTENT_TYPE, "application/json")], body)
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Creating {
    /// Answer when the session runs, has ended, or could not be started for now.
    wait: bool,
    /// Its log is going to be read: if it removes itself, it waits for that.
    attach: bool,
    /// Wait no longer; at most 60s. Default 30s.
    #[serde(with = "humantime_serde::option")]
    #[param(value_type = Option<seawall_model::schema::Span>)]
    timeout: Option<Duration>,
}

/// Make a session and start it.
///
/// What is refused leaves nothing behind; with `wait` that includes a refusal by the backend.
#[utoipa::path(
    post, path = "/v1/sessions", operation_id = "create_session",
    tag = "sessions", params(Creating, WithKey), request_body = SessionSpec,
    responses((
        status = 201, description = "It is wanted, and stored; or, sent again with its `Idempotency-Key`, was", body = Session,
        headers(("Location" = String, description = "Its address"))
    ))
)]
pub(super) async fn create(
    State(api): State<Api>,
    Query(query): Query<Creating>,
    IdempotencyKey(key): IdempotencyKey,
    Json(spec): Json<SessionSpec>,
) -> Result<Response, Problem> {
    api.check_options(&spec)?;
    let created = match (key.clone(), query.attach) {
        (Some(key), attached) => {
            let request = idempotency::request(&spec);
            api.control.create_once(spec, attached, key, request).await
        }
        (None, true) => api.control.create_attended(spec).await,
        (None, false) => api.control.create(spec).await,
    };
    let mut session = created.map_err(|error| match error {
        // The address is right; what is named in the body is not there.
        ControlError::NoSuchBackend(_) => Problem::field(Kind::Invalid, "backend", error.to_string()),
        other => other.into(),
    })?;
    if query.wait {
        let timeout = query.timeout.unwrap_or(USUAL_HOLD).min(LONGEST_HOLD);
        session = match (made(&api, session, timeout).await, key) {
            (Ok(session), _) => session,
            (Err(refused), key) => {
                // Nothing was made for it.
                if let Some(key) = key {
                    api.control.forget_key(key).await?;
                }
                return Err(refused);
            }
        };
    }
    let location = HeaderValue::from_str(&format!("/v1/sessions/{}", session.id)).ok();
    let mut response = Tagged(StatusCode::CREATED, session).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Waits for the outcome of a creation. A session that its backend refuses is removed again: what is refused changes
/// nothing.
async fn made(api: &Api, session: Session, timeout: Duration) -> Result<Session, Problem> {
    let settled = match reach(api, &session.id, Until::Settled.into(), timeout).await {
        // It ran, is over, and has removed itself.
        Err(gone @ ControlError::NoSuchSession(_)) => {
            return api.control.departed(&session.id).ok_or_else(|| gone.into());
        }
        settled => settled?,
    };
    let Some(refusal) = api.control.refusal(&session.id) else { return Ok(settled.unwrap_or(session)) };
    let gone = async {
        api.control.remove(&session.id, true).await?;
        reach(api, &session.id, Until::Removed.into(), LONGEST_HOLD).await
    };
    match gone.await {
        // Somebody else may have been quicker.
        Ok(_) | Err(ControlError::NoSuchSession(_)) => Err(refusal.into()),
        Err(error) => Err(error.into()),
    }
}

/// One session.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", operation_id = "show_session",
    tag = "sessions", params(OfSession, KnownAs),
    responses(
        (status = 200, body = Session),
        (status = 304, description = "It is as the client has it")
    )
)]
pub(super) async fn show(
    State(api): State<Api>,
    Reference(id): Reference,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let session = find(&api, &id)?;
    let has = known.has(&session);
    let mut response = Tagged(StatusCode::OK, session).into_response();
    if has {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(CONTENT_TYPE);
    }
    Ok(response)
}

/// Why a session is as it is.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/why", operation_id = "explain_session",
    tag = "sessions", params(OfSession), responses((status = 200, body = Why))
)]
pub(super) async fn why(State(api): State<Api>, Reference(id): Reference) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let mut why = api.control.why(&id).ok_or_else(|| ControlError::NoSuchSession(id.to_string()))?;
    why.last_check = api.control.last_check(&id).await;
    Ok(axum::Json(why).into_response())
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Starting {
    /// Answer when the session runs, has ended, or could not be started for now.
    wait: bool,
}

/// Start a session that is over.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/start", operation_id = "start_session",
    tag = "sessions", params(OfSession, Starting, SeenAs),
    responses(
        (status = 200, body = Session),
        (status = 202, description = "Not so yet, and it was waited long enough", body = Session)
    )
)]
pub(super) async fn start(
    State(api): State<Api>,
    Reference(id): Reference,
    Query(query): Query<Starting>,
    expected: IfMatch,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let session = expected.hold(api.control.start_session(&id)).await?;
    answer(&api, &session, query.wait.then(|| Until::Settled.into())).await
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Stopping {
    /// Answer when it is over.
    wait: bool,
    /// So long after the stop signal it is killed; at most 1h. Default: as in its spec.
    #[serde(with = "humantime_serde::option")]
    #[param(value_type = Option<seawall_model::schema::Span>)]
    grace: Option<Duration>,
}

/// The session as it is now or, where a goal was asked for, when that is reached.
pub(super) async fn answer(api: &Api, session: &Session, goal: Option<Goal>) -> Result<Response, Problem> {
    match goal {
        Some(goal) => hold(api, &session.id, goal, LONGEST_HOLD).await,
        None => Ok(Tagged(StatusCode::OK, session.clone()).into_response()),
    }
}

/// A grace as it was asked for, if it may be so long.
pub(super) fn bounded(grace: Option<Duration>) -> Result<Option<Duration>, Problem> {
    match grace {
        Some(grace) if grace > MAX_GRACE => Err(Problem::field(Kind::Invalid, "grace", "at most 1h")),
        grace => Ok(grace),
    }
}

/// As in a spec.
const MAX_GRACE: Duration = Duration::from_secs(3600);

/// Stop a session: its stop signal, then its grace, then KILL.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/stop", operation_id = "stop_session", tag = "sessions", params(OfSession, Stopping, SeenAs),
    responses(
        (status = 200, body = Session),
        (status = 202, description = "Not over yet, and it was waited long enough", body = Session)
    )
)]
pub(super) async fn stop(
    State(api): State<Api>,
    Reference(id): Reference,
    Query(query): Query<Stopping>,
    expected: IfMatch,
) -> Result<Response, Problem> {
    let id = api.control.resolve(&id)?;
    let session = expected.hold(api.control.stop(&id, bounded(query.grace)?)).await?;
    answer(&api, &session, query.wait.then(|| Until::Ended.into())).await
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removing {
    /// Answer when it is gone.
    wait: bool,
    /// A session that runs is killed.
    force: bool,
    /// By the host's own hand, without the plugin.
    break_glass: bool,
    /// The record, whatever is left. Only with `break_glass`.
    forget: bool,
}

/// Remove a session, its workload and its log.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", operation_id = "remove_session", tag = "sessions", params(OfSession, Removing, SeenAs),
    responses(
        (status = 202, description = "It is being removed", body = Session),
        (status = 204, description = "It is gone")
    )
)]
pub(super) async fn remove(
    State(api): State<Api>,
    Reference(id): Reference,
    Query(query): Query<Removing>,
    expected: IfMatch,
) -> Result<Response, Problem> {
    if query.forget && !query.break_glass {
        return Err(Problem::field(Kind::Invalid, "forget", "only with `break_glass`"));
    }
    let id = api.control.resolve(&id)?;
    if query.break_glass {
        expected.hold(api.control.break_glass(&id, query.forget)).await?;
    } else {
        expected.hold(api.control.remove(&id, query.force)).await?;
    }
    if query.wait {
        return hold(&api, &id, Until::Removed.into(), LONGEST_HOLD).await;
    }
    match api.control.session(&id) {
        Some(session) => Ok(Tagged(StatusCode::ACCEPTED, session).into_response()),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Waiting {
    /// What is waited for.
    #[param(inline)]
    r#for: Until,
    /// Of an incarnation later than this.
    #[serde(deserialize_with = "number")]
    after: Incarnation,
    /// Wait no longer; at most 60s. Default 30s.
    #[serde(with = "humantime_serde::option")]
    #[param(value_type = Option<seawall_model::schema::Span>)]
    timeout: Option<Duration>,
}

/// A request is held open no longer; who wants to wait on asks again.
pub(super) const LONGEST_HOLD: Duration = Duration::from_secs(60);
const USUAL_HOLD: Duration = Duration::from_secs(30);

/// Wait until a session is as asked, for at most a minute; who wants to wait on asks again.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/wait", operation_id = "wait_for_session",
    tag = "sessions", params(OfSession, Waiting),
    responses(
        (status = 200, description = "It is so", body = Session),
        (status = 202, description = "It is not so yet, and the time is over", body = Session),
        (status = 204, description = "It is gone, and that was waited for")
    )
)]
pub(super) async fn wait(
    State(api): State<Api>,
    Reference(id): Reference,
    Query(query): Query<Waiting>,
) -> Result<Response, Problem> {
    let timeout = query.timeout.unwrap_or(USUAL_HOLD).min(LONGEST_HOLD);
    let goal = Goal { until: query.r#for, after: query.after };
    let id = match (api.control.resolve(&id), id.parse::<SessionId>()) {
        (Err(ControlError::NoSuchSession(_)), _) if goal.until == Until::Removed => {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        // It may have removed itself.
        (Err(ControlError::NoSuchSession(_)), Ok(id)) => id,
        (id, _) => id?,
    };
    hold(&api, &id, goal, timeout).await
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// It is so.
    pub(super) until: Until,
    /// It is in a later incarnation than this.
    pub(super) after: Incarnation,
}

impl Goal {
    fn holds(self, session: &Session) -> bool {
        session.incarnation > self.after && self.until.holds(session)
    }
}

impl From<Until> for Goal {
    fn from(until: Until) -> Self {
        Self { until, after: 0 }
    }
}

pub(super) async fn hold(api: &Api, id: &SessionId, goal: Goal, timeout: Duration) -> Result<Response, Problem> {
    let until = goal.until;
    match reach(api, id, goal, timeout).await {
        Ok(Some(session)) => Ok(Tagged(StatusCode::OK, session).into_response()),
        Err(ControlError::NoSuchSession(_)) if until == Until::Removed => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(gone @ ControlError::NoSuchSession(_)) => {
            let last = api.control.departed(id).filter(|last| goal.holds(last)).ok_or(gone)?;
            Ok(Tagged(StatusCode::OK, last).into_response())
        }
        Err(error) => Err(error.into()),
        Ok(None) => match (find(api, id), until) {
            (Err(_), Until::Removed) => Ok(StatusCode::NO_CONTENT.into_response()),
            (session, _) => Ok(Tagged(StatusCode::ACCEPTED, session?).into_response()),
        },
    }
}

/// Waits until a session is as asked; `None` if the time is over first. A session that is gone is `NoSuchSession`.
async fn reach(api: &Api, id: &SessionId, goal: Goal, timeout: Duration) -> Result<Option<Session>, ControlError> {
    tokio::select! {
        biased;
        // Cancel-safe, all three: nothing is taken from anywhere.
        () = api.drain.cancelled() => Err(ControlError::ShuttingDown),
        waited = api.control.wait(id, |session| goal.holds(session)) => waited.map(Some),
        () = tokio::time::sleep(timeout) => Ok(None),
    }
}

fn find(api: &Api, id: &SessionId) -> Result<Session, Problem> {
    api.control.session(id).ok_or_else(|| ControlError::NoSuchSession(id.to_string()).into())
}

/// Which sessions are being stopped.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Downed {
    /// Those that ran, or may have.
    pub(crate) sessions: Vec<SessionId>,
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Down {
    /// So long after its stop signal each is killed; at most 1h. Default: as in its spec.
    #[serde(with = "humantime_serde::option")]
    #[param(value_type = Option<seawall_model::schema::Span>)]
    grace: Option<Duration>,
}

/// Stop every session.
#[utoipa::path(
    post, path = "/v1/down", operation_id = "stop_all_sessions",
    tag = "daemon", params(Down), responses((status = 202, body = Downed))
)]
pub(super) async fn down(State(api): State<Api>, Query(query): Query<Down>) -> Result<Response, Problem> {
    let sessions = api.control.stop_all(bounded(query.grace)?).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(Downed { sessions })).into_response())
}
