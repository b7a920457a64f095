//! What may be written in the file. Unknown keys are refused everywhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use seawall_backend::{BulkheadConfig, Deadlines};
use seawall_control::ControlConfig;
use seawall_model::BackendName;
use seawall_runtime::{ClassOverrides, Grants, RuntimeConfig};
use seawall_store::JournalConfig;
use serde::{Deserialize, Serialize};

use super::backends::PluginSource;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct ConfigFile {
    /// Where everything is kept.
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the API listens. At most 107 bytes.
    pub(crate) socket: Option<PathBuf>,
    /// What becomes of sessions when the daemon ends.
    pub(crate) shutdown: Option<ShutdownMode>,
    /// How long the daemon takes to end before it gives up. Default 30 s.
    #[serde(with = "humantime_serde::option")]
    pub(crate) shutdown_deadline: Option<Duration>,
    /// A folder with the built-in plugins, instead of those in the binary.
    pub(crate) plugins_dir: Option<PathBuf>,
    /// The supervisor's binary. Default: beside the daemon's.
    pub(crate) supervisor: Option<PathBuf>,
    /// The daemon's own log.
    pub(crate) log: LogSection,
    /// The control loop.
    pub(crate) control: ControlConfig,
    /// The journal of events.
    pub(crate) journal: JournalConfig,
    /// The runtime of plugins.
    pub(crate) runtime: RuntimeConfig,
    /// What bounds the calls of every backend.
    pub(crate) bulkhead: BulkheadConfig,
    /// Backends by name.
    pub(crate) backend: BTreeMap<BackendName, BackendSection>,
}

/// What becomes of sessions when the daemon ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ShutdownMode {
    /// They go on and are adopted at the next start.
    #[default]
    Leave,
    /// They are stopped, each with its grace.
    Stop,
}

/// The daemon's own log, on standard error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct LogSection {
    /// What is logged: `info`, or as in `info,seawall_control=debug`.
    pub(crate) filter: Option<String>,
    /// Its form.
    pub(crate) format: Option<LogFormat>,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One object a line.
    Json,
}

/// One backend.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct BackendSection {
    /// Which component: `builtin:NAME` or a path. A backend named as a built-in plugin has that one.
    pub(crate) plugin: Option<PluginSource>,
    /// `false` leaves the backend out.
    pub(crate) enabled: Option<bool>,
    /// What the plugin may do. A built-in backend that says nothing has what its plugin needs.
    pub(crate) grants: Option<Grants>,
    /// The plugin's own configuration, checked against its schema.
    pub(crate) config: toml::Table,
    /// How long calls may take, where it differs from `[runtime.deadlines]`; key by key, as with `bulkhead`.
    pub(crate) deadlines: Deadlines,
    /// Bounds on calls, where they differ from `[runtime.limits]`.
    pub(crate) limits: ClassOverrides,
    /// What bounds its calls, where it differs from `[bulkhead]`; key by key, hence only checked here and put together
    /// from what is written.
    pub(crate) bulkhead: BulkheadConfig,
}
