//! All backends in one look, and what it comes to (B7). Pure: everybody who shows backends, or counts them, does so from
//! one [`Overview`], so that no two of them disagree.
//!
//! ```text
//!   pending    a backend had no check yet (B6)
//!   ready      every backend is healthy
//!   failed     none can be used: each is unhealthy or unauthenticated
//!   degraded   anything between
//! ```

use std::collections::BTreeMap;
use std::fmt;

use seawall_backend::breaker::BreakerState;
use seawall_model::{BackendName, SessionState, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{BackendHealth, BackendStatus};

/// Every backend as it was at one instant: `GET /v1/backends`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Overview {
    /// What it comes to.
    pub summary: Summary,
    /// In the order of names.
    pub backends: Vec<BackendStatus>,
    /// Sessions of backends that are not configured, by backend and state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unconfigured: BTreeMap<BackendName, BTreeMap<SessionState, usize>>,
}

/// How all backends together are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Summary {
    /// In a word.
    pub phase: Phase,
    /// How many backends are so; states that none is in are absent.
    pub health: BTreeMap<BackendHealth, usize>,
    /// Backends that had no check yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<BackendName>,
    /// What an operator should know, backend by backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<BackendCondition>,
}

/// How all backends together are, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A backend had no check yet.
    Pending,
    /// Every backend is healthy.
    Ready,
    /// Not every one is, and not every one has failed.
    Degraded,
    /// No backend can be used.
    Failed,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Ready, Self::Degraded, Self::Failed];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something about one backend that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BackendCondition {
    /// Which.
    pub backend: BackendName,
    /// A stable word: its health, where that is not healthy; `breaker_open`; or that of the backend's own condition.
    pub kind: String,
    /// In words.
    pub message: String,
    /// Since when, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Summary {
    /// What these come to.
    pub fn of(backends: &[BackendStatus]) -> Self {
        let mut health: BTreeMap<BackendHealth, usize> = BTreeMap::new();
        backends.iter().for_each(|status| *health.entry(status.health).or_default() += 1);
        let unchecked = backends.iter().filter(|status| status.checked_at.is_none());
        let unchecked: Vec<BackendName> = unchecked.map(|status| status.name.clone()).collect();
        let all = |is: fn(BackendHealth) -> bool| health.keys().all(|health| is(*health));
        let phase = if !unchecked.is_empty() {
            Phase::Pending
        } else if all(|health| health == BackendHealth::Healthy) {
            Phase::Ready
        } else if all(|health| !health.usable()) {
            Phase::Failed
        } else {
            Phase::Degraded
        };
        Self { phase, health, unchecked, conditions: backends.iter().flat_map(conditions).collect() }
    }
}

fn conditions(status: &BackendStatus) -> Vec<BackendCondition> {
    let condition = |kind: &str, message: String, since| BackendCondition {
        backend: status.name.clone(),
        kind: kind.to_owned(),
        message,
        since,
    };
    let mut all = Vec::new();
    if status.health != BackendHealth::Healthy {
        let message = match (&status.error, status.checked_at, status.latency) {
            (Some(error), ..) => error.clone(),
            (None, None, _) => "it had no check yet".to_owned(),
            (None, _, latency) => {
                format!("its check took {}", humantime::format_duration(latency.unwrap_or_default()))
            }
        };
        all.push(condition(status.health.as_str(), message, Some(status.since)));
    }
    let breaker = &status.bulkhead.breaker;
    if breaker.state == BreakerState::Open {
        let failure =
            breaker.last_failure.as_ref().map(|failure| format!("`{}`: {}", failure.function, failure.reason));
        all.push(condition("breaker_open", failure.unwrap_or_else(|| "it failed too often".to_owned()), None));
    }
    let own = status.conditions.iter();
    all.extend(own.map(|own| condition(&own.kind, own.message.clone(), Some(own.since))));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::status;

    fn of(all: &[BackendHealth]) -> Summary {
        let backends: Vec<_> = all.iter().map(|health| status(*health, Some(Timestamp::from_millis(1)))).collect();
        Summary::of(&backends)
    }

    /// B7.
    #[test]
    fn the_phase_follows_from_the_states_and_all_degraded_is_not_failed() {
        use BackendHealth::{Degraded, Healthy, Unauthenticated, Unhealthy, Unknown};
        let cases = [
            (&[Healthy, Healthy][..], Phase::Ready),
            (&[Healthy, Degraded], Phase::Degraded),
            (&[Degraded, Degraded], Phase::Degraded),
            (&[Degraded, Unhealthy], Phase::Degraded),
            (&[Healthy, Unhealthy], Phase::Degraded),
            (&[Unknown], Phase::Degraded),
            (&[Unknown, Unhealthy], Phase::Degraded),
            (&[Unhealthy], Phase::Failed),
            (&[Unhealthy, Unauthenticated], Phase::Failed),
            (&[], Phase::Ready),
        ];
        for (health, phase) in cases {
            assert_eq!(of(health).phase, phase, "{health:?}");
        }
    }

    #[test]
    fn one_that_had_no_check_yet_is_waited_for_whatever_the_others_are() {
        for other in [BackendHealth::Healthy, BackendHealth::Unhealthy] {
            let checked = status(other, Some(Timestamp::from_millis(1)));
            let summary = Summary::of(&[checked, status(BackendHealth::Unknown, None)]);
            assert_eq!((summary.phase, summary.unchecked.len()), (Phase::Pending, 1));
        }
    }

    #[test]
    fn what_is_not_healthy_is_counted_and_said_why() {
        let summary = of(&[BackendHealth::Healthy, BackendHealth::Unhealthy, BackendHealth::Unhealthy]);
        assert_eq!(summary.health, [(BackendHealth::Healthy, 1), (BackendHealth::Unhealthy, 2)].into());
        let kinds: Vec<_> = summary.conditions.iter().map(|condition| condition.kind.as_str()).collect();
        assert_eq!(kinds, ["unhealthy", "unhealthy"]);
        assert!(summary.conditions.iter().all(|condition| condition.message == "the engine is away"));
    }
}
