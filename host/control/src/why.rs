//! Why a session is as it is: the whole chain from what is wanted to what stands in the way, in one look.
//!
//! One part for each link, so that a link that comes later is one part more. Nothing is asked of a backend; how the
//! health check went that its engine made is a question of its own, which is not waited for long.

use std::time::Duration;

use seawall_backend::breaker::BreakerState;
use seawall_backend::quarantine::Quarantined;
use seawall_backend::{BulkheadStatus, ExecutionBackend as _};
use seawall_model::{
    BackendName, CheckResult, Desired, Exit, Health, Incarnation, RestartBudget, RestartPolicy, SessionId, SessionName,
    SessionState, Timestamp, TraceId,
};
use seawall_store::{Act, SessionRecord};
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, call};
use crate::control::Control;
use crate::draft::key;
use crate::look::Look;
use crate::probe::{Outcome, Role};
use crate::state::Cell;
use crate::{BackendHealth, Condition};

/// Why a session is as it is: `GET /v1/sessions/{id}/why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Why {
    /// Its id.
    pub session: SessionId,
    /// Its name.
    pub name: SessionName,
    /// The link of the chain that holds it up, in one sentence.
    pub summary: String,
    /// What is wanted.
    pub desired: Desired,
    /// What is.
    pub observed: Observed,
    /// What was begun and has not come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<OpenAct>,
    /// What its probes last came to, those that the host carries out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<LastProbe>,
    /// How the newest health check went that the backend's engine made, of a session that is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<CheckResult>,
    /// What is tried again, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How the newest incarnation that ended did so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// What the restart policy has left.
    pub restart: Restart,
    /// Functions of the plugin that are not asked about it for now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<Quarantined>,
    /// The backend it is on.
    pub backend: WhyBackend,
    /// What went wrong of late in calls about it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<LastError>,
}

/// What is known of the workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Observed {
    /// The state as users see it.
    pub state: SessionState,
    /// What was last known, while `state` is `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_state: Option<SessionState>,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// When the backend last answered about it. Absent: not since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// To which look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Look>,
    /// Why the state is as it is, where a word is not enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a probe last came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LastProbe {
    /// Which.
    pub probe: Role,
    /// What it came to.
    pub result: ProbeResult,
    /// When.
    pub at: Timestamp,
    /// Why, where it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Successes in a row.
    pub successes: u32,
    /// Failures in a row.
    pub failures: u32,
}

/// What a probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProbeResult {
    /// The session answered well.
    Passed,
    /// It did not.
    Failed,
    /// It could not be asked, which counts as nothing.
    Unknown,
}

impl LastProbe {
    pub(crate) fn new(probe: Role, outcome: &Outcome, at: Timestamp, successes: u32, failures: u32) -> Self {
        let (result, message) = match outcome {
            Outcome::Passed => (ProbeResult::Passed, None),
            Outcome::Failed(why) => (ProbeResult::Failed, Some(why.clone())),
            Outcome::Unknown(why) => (ProbeResult::Unknown, Some(why.clone())),
        };
        Self { probe, result, at, message, successes, failures }
    }
}

/// An open intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OpenAct {
    /// What.
    pub act: Act,
    /// On which incarnation.
    pub incarnation: Incarnation,
    /// Since when.
    pub since: Timestamp,
}

/// A try that failed or was not let in, and the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Retry {
    /// Tries that failed in a row. One that was not let in is none.
    pub failed: u32,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// The restart policy and its budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Restart {
    /// As in the spec.
    pub policy: RestartPolicy,
    /// Starts it made so far.
    pub restarts: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Failures that it still allows. Absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u32>,
    /// What bounds its starts besides. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<RestartBudget>,
    /// Starts that the budget has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_left: Option<u32>,
    /// When the next start is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// The backend of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WhyBackend {
    /// Its name.
    pub name: BackendName,
    /// What is known of it. Absent: it is not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownBackend>,
}

/// What is known of a backend that is configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KnownBackend {
    /// How well it can be used.
    pub health: BackendHealth,
    /// How its last check failed. Absent: it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Within which trace its last check was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// When all its sessions were last looked at without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept_at: Option<Timestamp>,
    /// By which sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept_by: Option<Look>,
    /// What an operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Its bulkhead; the quarantine of other sessions is left out.
    pub bulkhead: BulkheadStatus,
}

/// Something that went wrong in a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LastError {
    /// When it did so last.
    pub at: Timestamp,
    /// How often in a row.
    pub times: u32,
    /// What was called.
    pub function: String,
    /// What went wrong.
    pub message: String,
    /// Within which trace it did so last: lines of the daemon's log carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
}

/// An explanation that is not complete is better than one that does not come.
const SOON: Duration = Duration::from_secs(1);

impl Control {
    /// Why a session is as it is. `None`: there is none.
    pub fn why(&self, id: &SessionId) -> Option<Why> {
        let entry = self.core.sessions.get(id)?;
        let backend = self.core.backends.get(&entry.backend);
        Some(entry.with(|cell| explain(cell, backend.as_deref(), self.core.clock.now())))
    }

    /// How the newest health check went that the backend's engine made, of a session that runs and is not healthy. `None`
    /// too if the engine does not say so soon.
    pub async fn last_check(&self, id: &SessionId) -> Option<CheckResult> {
        let entry = self.core.sessions.get(id)?;
        let backend = self.core.backends.get(&entry.backend).filter(|backend| backend.engine_checks())?;
        let ill = |cell: &mut Cell| matches!(cell.session().health, Health::Unhealthy | Health::Starting);
        let key = entry.with(|cell| ill(cell).then(|| key(&cell.record)))?;
        let last = call("health-checks.last", backend.driver.last_health_check(&key));
        tokio::time::timeout(SOON, last).await.ok()?.ok()?
    }
}

fn explain(cell: &Cell, backend: Option<&Backend>, now: Timestamp) -> Why {
    let record = &cell.record;
    let known = backend.map(|backend| backend.why(&record.id));
    let session = cell.session();
    let marks = &cell.marks;
    let at = marks.retry_at.filter(|at| *at > now);
    let mut why = Why {
        session: record.id.clone(),
        name: record.name.clone(),
        summary: String::new(),
        desired: record.desired,
        observed: Observed {
            state: session.state,
            last_state: session.last_state,
            incarnation: record.incarnation,
            at: cell.seen.map(|seen| seen.at),
            by: cell.seen.map(|seen| seen.by),
            reason: session.reason,
        },
        act: cell.intent.as_ref().map(|intent| OpenAct {
            act: intent.act,
            incarnation: intent.incarnation,
            since: intent.since,
        }),
        probes: cell.probes().to_vec(),
        last_check: None,
        retry: (marks.attempts > 0 || at.is_some()).then_some(Retry { failed: marks.attempts, at }),
        exit: record.exit.clone(),
        restart: restart(record, now),
        quarantine: known.iter().flat_map(|known| known.bulkhead.quarantine.clone()).collect(),
        backend: WhyBackend { name: record.backend().clone(), known },
        errors: cell.errors.iter().cloned().collect(),
    };
    why.summary = summary(&why, cell.queued);
    why
}

fn restart(record: &SessionRecord, now: Timestamp) -> Restart {
    let policy = record.spec.restart;
    let left = match policy {
        RestartPolicy::OnFailure { max: Some(max) } => Some(max.saturating_sub(record.failures)),
        RestartPolicy::Never | RestartPolicy::Always | RestartPolicy::OnFailure { max: None } => None,
    };
    let budget = record.spec.restart_budget;
    Restart {
        policy,
        restarts: record.restarts,
        failures: record.failures,
        left,
        budget,
        budget_left: budget.map(|budget| crate::policy::left(budget, &record.restarted, now)),
        at: record.restart_at,
    }
}

/// The first link from the outside in that holds it up.
fn summary(why: &Why, queued: bool) -> String {
    let backend = &why.backend.name;
    let Some(known) = &why.backend.known else {
        return format!("its backend {backend} is not configured");
    };
    if let Some(Quarantined { function, faults, left, .. }) = why.quarantine.first() {
        let left = humantime::format_duration(*left);
        return format!(
            "it is quarantined: the plugin's `{function}` faulted {faults} times in a row about it, and is tried again in \
             {left}"
        );
    }
    let over = why.observed.state.is_final() && why.desired != Desired::Removed;
    let breaker = &known.bulkhead.breaker;
    if breaker.state == BreakerState::Open && !over {
        let left = humantime::format_duration(breaker.retry_after.unwrap_or_default());
        return format!("its backend {backend} failed too often and is left alone for another {left}");
    }
    let reason = why.observed.reason.as_deref();
    match (why.observed.state, why.desired) {
        (SessionState::Unknown, _) => format!("nobody knows: {}", reason.unwrap_or("its backend was not asked")),
        (SessionState::Restarting, Desired::Running) => {
            let ended = why.exit.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("incarnation {} ended ({ended}), and the next one follows", why.observed.incarnation)
        }
        (state, _) if over => match (&why.exit, reason) {
            (_, Some(reason)) => format!("it is {state}: {reason}"),
            (Some(exit), None) => format!("it is {state}: {exit}"),
            (None, None) => format!("it is {state}"),
        },
        (SessionState::Paused, Desired::Running) => {
            "it is paused: `seawall unpause` lets it run on, and until then no probe of it counts".to_owned()
        }
        (SessionState::Running, Desired::Running) => match reason {
            Some(reason) => format!("it is running, and unhealthy: {reason}"),
            None => "it runs, as it is wanted to".to_owned(),
        },
        (state, _) if queued => {
            let waiting = known.bulkhead.permits.calls.queued;
            format!("it is {state}, and its next step waits for its turn: {waiting} wait for the backend {backend}")
        }
        (state, _) => match (&why.retry, reason) {
            (Some(_), Some(reason)) => format!("it is {state} and tried again: {reason}"),
            (None, Some(reason)) => format!("it is {state}: {reason}"),
            (_, None) => format!("it is {state}, and the next step is under way"),
        },
    }
}
