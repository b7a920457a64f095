//! How often to look, how long to wait, how much to believe.

use std::path::PathBuf;
use std::time::Duration;

use seawall_model::{InvalidSpec, Problem};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{KeptLogsConfig, RetentionConfig};

/// Settings of the control plane: the table `[control]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ControlConfig {
    /// Between two sweeps of a backend; each is moved by up to a tenth. Default 5 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub sweep_interval: Duration,
    /// Between two complete listings of a backend, which find orphans. Default 60 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub list_interval: Duration,
    /// An orphan is left alone for so long after it was first seen. Default 30 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub orphan_grace: Duration,
    /// Orphans that are more than this share of the workloads with a session wait for an operator; in percent.
    /// Default 50.
    pub orphan_percent: u8,
    /// So many orphans are removed whatever the share. Default 3.
    pub orphan_minimum: usize,
    /// A backend that has lost more than this share of its sessions at once is not believed; in percent. Default 50.
    pub missing_percent: u8,
    /// So many sessions may be lost at once whatever the share. Default 3.
    pub missing_minimum: usize,
    /// Between the end of a session and its next incarnation. Default 1 s to 5 min.
    #[serde(deserialize_with = "restart")]
    pub restart: Backoff,
    /// A session that ran for so long begins its backoff anew. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub healthy_uptime: Duration,
    /// Between two tries of an act that failed, or to open a watch. Default 1 s to 60 s.
    #[serde(deserialize_with = "retry")]
    pub retry: Backoff,
    /// Health of backends.
    pub check: CheckConfig,
    /// Probes of one backend's sessions that are under way at one time; others wait. Default 32.
    pub probes_at_once: usize,
    /// Directories of the host in whose files sessions may have variables (`env_from`). Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub env_files: Vec<PathBuf>,
    /// What is kept of the logs of earlier starts.
    pub logs: KeptLogsConfig,
    /// How long sessions that are over are kept. Default: for ever.
    #[serde(skip_serializing_if = "RetentionConfig::bounds_nothing")]
    pub retention: RetentionConfig,
    /// The most streams of one session that are open at once: its log, commands in it, its terminal. Default 64.
    pub session_streams: usize,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            sweep_interval: Duration::from_secs(5),
            list_interval: Duration::from_secs(60),
            orphan_grace: Duration::from_secs(30),
            orphan_percent: 50,
            orphan_minimum: 3,
            missing_percent: 50,
            missing_minimum: 3,
            restart: RESTART,
            healthy_uptime: Duration::from_secs(10),
            retry: RETRY,
            check: CheckConfig::default(),
            probes_at_once: 32,
            env_files: Vec::new(),
            logs: KeptLogsConfig::default(),
            retention: RetentionConfig::default(),
            session_streams: 64,
        }
    }
}

/// Delays that double from `first` up to `most`. What is waited is drawn between zero and that (full jitter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Backoff {
    /// After the first failure.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub first: Duration,
    /// Never more than this.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub most: Duration,
}

const RESTART: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };

fn restart<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Backoff, D::Error> {
    over(RESTART, deserializer)
}

fn retry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Backoff, D::Error> {
    over(RETRY, deserializer)
}

/// What is left out is as it is by default.
fn over<'de, D: Deserializer<'de>>(default: Backoff, deserializer: D) -> Result<Backoff, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Written {
        #[serde(with = "humantime_serde::option")]
        first: Option<Duration>,
        #[serde(with = "humantime_serde::option")]
        most: Option<Duration>,
    }

    let Written { first, most } = Written::deserialize(deserializer)?;
    Ok(Backoff { first: first.unwrap_or(default.first), most: most.unwrap_or(default.most) })
}

/// How the health of a backend is found out: the table `[control.check]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CheckConfig {
    /// Between two checks of a healthy backend; each is moved by up to a tenth. Default 30 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub interval: Duration,
    /// Between two checks of one that is not. Default 5 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub retry_interval: Duration,
    /// A check that takes longer failed. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub timeout: Duration,
    /// A backend that answers later than this is degraded. Default 5 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub degraded_after: Duration,
    /// So many failures in a row make it unhealthy. Default 3.
    pub failures: u32,
}

impl Default for CheckConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            retry_interval: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            degraded_after: Duration::from_secs(5),
            failures: 3,
        }
    }
}

/// So many percent of a number, and never less than the minimum.
pub(crate) fn share(of: usize, percent: u8, minimum: usize) -> usize {
    (of.saturating_mul(usize::from(percent)) / 100).max(minimum)
}

impl ControlConfig {
    /// Checks what types cannot say. Every problem is found, not only the first; fields are named as in the file,
    /// below the table `[control]`.
    ///
    /// # Errors
    /// A list of settings that cannot be as they are.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let mut problems = Vec::new();
        let mut refuse = |field: &str, message: &str| {
            problems.push(Problem { field: format!("control.{field}"), message: message.to_owned() });
        };
        if self.session_streams == 0 {
            refuse("session-streams", "at least 1");
        }
        let intervals = [
            ("sweep-interval", self.sweep_interval),
            ("list-interval", self.list_interval),
            ("check.interval", self.check.interval),
            ("check.retry-interval", self.check.retry_interval),
            ("check.timeout", self.check.timeout),
        ];
        for (field, value) in intervals {
            if value < SHORTEST || value > LONGEST {
                refuse(field, "between 10ms and 1 day");
            }
        }
        for (field, value) in [("orphan-grace", self.orphan_grace), ("healthy-uptime", self.healthy_uptime)] {
            if value > LONGEST {
                refuse(field, "at most 1 day");
            }
        }
        for (field, backoff) in [("restart", self.restart), ("retry", self.retry)] {
            if backoff.first < SHORTEST || backoff.first > backoff.most || backoff.most > LONGEST {
                refuse(field, "`first` is at least 10ms, `most` at least `first` and at most 1 day");
            }
        }
        for (field, percent) in [("orphan-percent", self.orphan_percent), ("missing-percent", self.missing_percent)] {
            if percent > 100 {
                refuse(field, "a share in percent, from 0 to 100");
            }
        }
        if self.check.degraded_after > self.check.timeout {
            refuse("check.degraded-after", "at most `check.timeout`");
        }
        if self.check.failures == 0 {
            refuse("check.failures", "at least 1");
        }
        if !(1..=1000).contains(&self.probes_at_once) {
            refuse("probes-at-once", "between 1 and 1000");
        }
        if self.env_files.iter().any(|directory| !directory.is_absolute()) {
            refuse("env-files", "absolute paths of directories");
        }
        self.logs.problems().for_each(|(field, message)| refuse(field, message));
        if self.retention.age.is_some_and(|age| !(LEAST_AGE..=MOST_AGE).contains(&age)) {
            refuse("retention.age", "between 1m and 10 years; leave it out to keep them for ever");
        }
        if problems.is_empty() { Ok(()) } else { Err(InvalidSpec { problems }) }
    }
}

/// What is pruned sooner could as well remove itself.
const LEAST_AGE: Duration = Duration::from_secs(60);
const MOST_AGE: Duration = Duration::from_secs(3660 * 24 * 3600);
/// Anything shorter is a busy loop.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(ControlConfig::default().validate(), Ok(()));
    }

    #[test]
    fn every_bad_setting_is_named_at_once() {
        let config = ControlConfig {
            sweep_interval: Duration::ZERO,
            orphan_percent: 101,
            missing_percent: 101,
            probes_at_once: 0,
            env_files: vec!["here".into()],
            logs: KeptLogsConfig { incarnations: 101, ..KeptLogsConfig::default() },
            retention: RetentionConfig { age: Some(Duration::ZERO), sessions: None },
            retry: Backoff { first: Duration::from_secs(2), most: Duration::from_secs(1) },
            ..ControlConfig::default()
        };
        let problems = config.validate().unwrap_err().problems;
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "control.sweep-interval",
                "control.retry",
                "control.orphan-percent",
                "control.missing-percent",
                "control.probes-at-once",
                "control.env-files",
                "control.logs.incarnations",
                "control.retention.age"
            ]
        );
    }
}
