//! Health of backends (B1, B2).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use seawall_backend::Info;
use seawall_model::{BackendName, Report, SessionState, Timestamp};
use serde::{Deserialize, Serialize};

/// How well a backend can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
pub struct Condition {
    /// A stable word: `sweep_failed`, `answer_not_believed`.
    pub kind: String,
    /// In words.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// A backend, as `GET /v1/backends/{name}` and `backend inspect --json` give it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// As configured.
    pub name: BackendName,
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
    pub latency: Option<Duration>,
    /// How the last check failed. Absent: it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Checks that failed in a row.
    pub failures: u32,
    /// What the last good check said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    /// When its sessions were last looked at, all of them and without an error. Absent: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept_at: Option<Timestamp>,
    /// What an operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Its sessions, by state; states without any are absent.
    pub sessions: BTreeMap<SessionState, usize>,
}
