//! Health of backends (B1, B2): one check task for each.
//!
//! ```text
//!            success, in time                          3 failures in a row
//!   unknown ------------------> healthy <-> degraded ----------------------> unhealthy
//!                                           late or busy
//!   denied: unauthenticated at once. Any success leads back.
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use seawall_backend::{BulkheadStatus, Error, ExecutionBackend as _, Info, trace};
use seawall_model::{BackendName, Report, SessionState, Timestamp, TraceId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::CheckConfig;
use crate::backend::{Backend, call};
use crate::core::Core;
use crate::events::{Kind, of_backend};
use crate::look::Look;
use crate::sweep::spread;
use crate::watch::WatchStatus;
use crate::worker::kick;

/// How well a backend can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BackendHealth {
    /// Answers, and soon enough.
    Healthy,
    /// Answers late, or says that it is busy.
    Degraded,
    /// Failed several checks in a row.
    Unhealthy,
    /// No check has come to a conclusion yet.
    #[default]
    Unknown,
    /// Its engine refuses the credentials.
    Unauthenticated,
}

impl BackendHealth {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Healthy, Self::Degraded, Self::Unhealthy, Self::Unknown, Self::Unauthenticated];

    /// New sessions may be placed on it (B9). Unknown may be tried.
    pub fn usable(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded | Self::Unknown)
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
            Self::Unauthenticated => "unauthenticated",
        }
    }
}

impl fmt::Display for BackendHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something about a backend that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Condition {
    /// A stable word: `sweep_failed`, `answer_not_believed`.
    pub kind: String,
    /// In words.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
    /// Within which trace it was last met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
}

/// A backend, as `GET /v1/backends/{name}` and `backend inspect --json` give it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BackendStatus {
    /// As configured.
    pub name: BackendName,
    /// Which backend of this name it is, from 1, since it was added: counts up when it is restarted.
    pub generation: u64,
    /// Who the plugin is.
    pub info: Info,
    /// How well it can be used.
    pub health: BackendHealth,
    /// Since when its health is so.
    pub since: Timestamp,
    /// When the last check ended. Absent: none has yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
    /// How long the last check took.
    #[serde(default, with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<seawall_model::schema::Span>))]
    pub latency: Option<Duration>,
    /// How the last check failed. Absent: it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Within which trace the last check was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// Checks that failed in a row.
    pub failures: u32,
    /// What the last good check said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    /// When its sessions were last looked at, all of them and without an error. Absent: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept_at: Option<Timestamp>,
    /// By which sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept_by: Option<Look>,
    /// How long that took.
    #[serde(default, with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<seawall_model::schema::Span>))]
    pub sweep_took: Option<Duration>,
    /// Whether it tells of changes by itself.
    pub watch: WatchStatus,
    /// What an operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What bounds calls of it.
    pub bulkhead: BulkheadStatus,
    /// Its sessions, by state; states without any are absent.
    pub sessions: BTreeMap<SessionState, usize>,
}

/// What is known of the health of one generation of a backend. Its check task is the only writer, and a check that
/// outlives its timeout is dropped with its answer: no late result can overwrite a newer one (B4).
#[derive(Debug)]
pub(crate) struct HealthCell {
    pub(crate) health: BackendHealth,
    pub(crate) since: Timestamp,
    pub(crate) checked_at: Option<Timestamp>,
    pub(crate) latency: Option<Duration>,
    pub(crate) error: Option<String>,
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) failures: u32,
    pub(crate) report: Option<Report>,
}

/// How a check ended.
#[derive(Debug)]
pub(crate) enum Checked {
    /// Within its timeout.
    Answer(Result<Report, Error>),
    /// Not within its timeout.
    TimedOut,
}

impl HealthCell {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            health: BackendHealth::Unknown,
            since: now,
            checked_at: None,
            latency: None,
            error: None,
            trace_id: None,
            failures: 0,
            report: None,
        }
    }

    /// Takes in a check. Pure.
    fn checked(&mut self, checked: Checked, latency: Duration, now: Timestamp, config: &CheckConfig) {
        self.checked_at = Some(now);
        self.latency = Some(latency);
        let health = match checked {
            Checked::Answer(Ok(report)) => {
                self.report = Some(report);
                self.error = None;
                self.failures = 0;
                if latency > config.degraded_after { BackendHealth::Degraded } else { BackendHealth::Healthy }
            }
            Checked::Answer(Err(error)) => {
                self.error = Some(error.to_string());
                match error {
                    // Busy is not down (B8).
                    error if error.is_busy() => {
                        self.failures = 0;
                        BackendHealth::Degraded
                    }
                    Error::Denied(_) => {
                        self.failures = self.failures.saturating_add(1);
                        BackendHealth::Unauthenticated
                    }
                    Error::Exhausted { .. } => {
                        self.failures = 0;
                        BackendHealth::Degraded
                    }
                    _ => self.failed(config),
                }
            }
            Checked::TimedOut => {
                self.error = Some(format!("no answer within {}", humantime::format_duration(config.timeout)));
                self.failed(config)
            }
        };
        if self.health != health {
            self.health = health;
            self.since = now;
        }
    }

    fn failed(&mut self, config: &CheckConfig) -> BackendHealth {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= config.failures { BackendHealth::Unhealthy } else { self.health }
    }
}

/// Checks a backend until it is stopped: the task that owns its health. The first check is at once.
pub(crate) async fn watch(core: Arc<Core>, backend: Arc<Backend>) {
    let config = core.config.check;
    loop {
        let (begun, trace_id) = (Instant::now(), TraceId::random());
        let check = call("check", backend.driver.check());
        let check = trace::piece(trace_id, || tracing::debug_span!("check", backend = %backend.name), check);
        // Cancel-safe: a cancelled check counts as nothing.
        let checked = tokio::select! {
            biased;
            () = backend.stopping() => return,
            checked = tokio::time::timeout(config.timeout, check) => checked.map_or(Checked::TimedOut, Checked::Answer),
        };
        let (now, latency) = (core.clock.now(), begun.elapsed());
        let (before, after, error) = backend.with_health(|cell| {
            let before = cell.health;
            cell.checked(checked, latency, now, &config);
            cell.trace_id = Some(trace_id);
            (before, cell.health, cell.error.clone())
        });
        if before != after {
            let message = error.unwrap_or_else(|| format!("answered within {} ms", latency.as_millis()));
            let kind = match after {
                BackendHealth::Healthy => Some(Kind::BackendHealthy),
                BackendHealth::Degraded => Some(Kind::BackendDegraded),
                BackendHealth::Unhealthy => Some(Kind::BackendUnhealthy),
                BackendHealth::Unauthenticated => Some(Kind::BackendUnauthenticated),
                BackendHealth::Unknown => None,
            };
            if let Some(kind) = kind {
                trace::scope(trace_id, core.tell(of_backend(&backend.name, kind, now, message))).await;
            }
            if after.usable() {
                wake(&core, &backend);
            }
        }
        let interval = if after == BackendHealth::Healthy { config.interval } else { config.retry_interval };
        tokio::select! {
            () = tokio::time::sleep(spread(interval)) => {}
            // Sweeps ask for it when they get through; never more often than this.
            () = async {
                tokio::time::sleep(SOONEST).await;
                backend.check_now.notified().await;
            } => {}
            () = backend.stopping() => return,
        }
    }
}

/// However often it is asked for, the next check is not sooner.
const SOONEST: Duration = Duration::from_millis(500);

/// What waited for the backend need not wait any longer.
pub(crate) fn wake(core: &Arc<Core>, backend: &Backend) {
    for entry in core.sessions.on(&backend.name, |cell| cell.working) {
        entry.with(|cell| cell.marks.retry_at = None);
        kick(core, &entry);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use seawall_backend::limit::Ceiling;
    use seawall_backend::{Bulkhead, BulkheadConfig};

    use super::*;

    /// A backend that is so.
    pub(crate) fn status(health: BackendHealth, checked_at: Option<Timestamp>) -> BackendStatus {
        let info = Info {
            name: "fake".to_owned(),
            version: "0".to_owned(),
            description: String::new(),
            config_schema: String::new(),
            options_schema: String::new(),
            interfaces: Vec::new(),
        };
        let error = (checked_at.is_some() && !health.usable()).then(|| "the engine is away".to_owned());
        BackendStatus {
            name: "fake".parse().unwrap(),
            generation: 1,
            info,
            health,
            since: Timestamp::from_millis(0),
            checked_at,
            latency: checked_at.map(|_| Duration::from_secs(6)),
            error,
            trace_id: None,
            failures: 0,
            report: None,
            swept_at: None,
            swept_by: None,
            sweep_took: None,
            watch: WatchStatus::new(false, Timestamp::from_millis(0)),
            conditions: Vec::new(),
            bulkhead: Bulkhead::new((), &BulkheadConfig::default(), Ceiling::new(1)).status(),
            sessions: BTreeMap::new(),
        }
    }

    fn after(checks: Vec<(Checked, u64)>) -> BackendHealth {
        let mut cell = HealthCell::new(Timestamp::from_millis(0));
        for (checked, seconds) in checks {
            let latency = Duration::from_secs(seconds);
            cell.checked(checked, latency, Timestamp::from_millis(1), &CheckConfig::default());
        }
        cell.health
    }

    fn good() -> (Checked, u64) {
        (Checked::Answer(Ok(Report::default())), 0)
    }

    fn bad(error: Error) -> (Checked, u64) {
        (Checked::Answer(Err(error)), 0)
    }

    #[test]
    fn three_failures_in_a_row_are_unhealthy_and_one_success_is_healthy() {
        let down = || bad(Error::unavailable("gone"));
        assert_eq!(after(vec![down(), down()]), BackendHealth::Unknown);
        assert_eq!(after(vec![good(), down(), down()]), BackendHealth::Healthy);
        assert_eq!(after(vec![good(), down(), (Checked::TimedOut, 10), down()]), BackendHealth::Unhealthy);
        assert_eq!(after(vec![good(), down(), down(), good(), down()]), BackendHealth::Healthy);
        assert_eq!(after(vec![down(), down(), down(), good()]), BackendHealth::Healthy);
    }

    #[test]
    fn slow_or_busy_is_degraded_and_not_down() {
        assert_eq!(after(vec![(good().0, 6)]), BackendHealth::Degraded);
        let busy = || bad(Error::Exhausted { message: "busy".to_owned(), retry_after: None });
        assert_eq!(after(vec![busy(), busy(), busy(), busy()]), BackendHealth::Degraded);
    }

    #[test]
    fn refused_credentials_are_unauthenticated_at_once() {
        assert_eq!(after(vec![good(), bad(Error::Denied("no".to_owned()))]), BackendHealth::Unauthenticated);
    }
}
