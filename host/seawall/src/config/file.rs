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
use utoipa::ToSchema;

use super::api::Api;
use super::backends::PluginSource;
use super::telemetry::Telemetry;

/// The whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct ConfigFile {
    /// Where everything is kept. Default: `/var/lib/seawall` for root, else `seawall` under `XDG_DATA_HOME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the API listens. At most 107 bytes. Default: `seawall.sock` in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub(crate) socket: Option<PathBuf>,
    /// The API beyond its socket.
    #[serde(skip_serializing_if = "Api::is_empty")]
    pub(crate) api: Api,
    /// What becomes of sessions when the daemon ends: `leave` has them go on, to be adopted at the next start, and `stop`
    /// stops them. Default `leave`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shutdown: Option<ShutdownMode>,
    /// How long the daemon takes to end before it gives up. Default 30 s.
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = seawall_model::schema::Span)]
    pub(crate) shutdown_deadline: Option<Duration>,
    /// A folder with the built-in plugins, instead of those in the binary. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub(crate) plugins_dir: Option<PathBuf>,
    /// The supervisor's binary. Default: beside the daemon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub(crate) supervisor: Option<PathBuf>,
    /// The daemon's own log.
    pub(crate) log: LogSection,
    /// What the daemon tells others about its own work.
    pub(crate) telemetry: Telemetry,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ShutdownMode {
    /// They go on and are adopted at the next start.
    #[default]
    Leave,
    /// They are stopped, each with its grace.
    Stop,
}

impl ShutdownMode {
    /// The word in the file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Stop => "stop",
        }
    }
}

/// The daemon's own log, on standard error.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct LogSection {
    /// What is logged: `info`, or as in `info,seawall_control=debug`. Default `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<String>,
    /// Its form: `text`, `json`, or `auto` for text on a terminal and JSON elsewhere. Default `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<LogFormat>,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

impl LogFormat {
    /// The word in the file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// One backend.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct BackendSection {
    /// Which component: `builtin:NAME` or a path. A backend named as a built-in plugin has that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub(crate) plugin: Option<PluginSource>,
    /// `false` leaves the backend out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    /// What the plugin may do. A built-in backend that says nothing has what its plugin needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grants: Option<Grants>,
    /// The plugin's own configuration, checked against its schema.
    #[schema(value_type = Object)]
    pub(crate) config: toml::Table,
    /// How long calls may take, where it differs from `[runtime.deadlines]`; key by key, as with `bulkhead`.
    pub(crate) deadlines: Deadlines,
    /// Bounds on calls, where they differ from `[runtime.limits]`.
    pub(crate) limits: ClassOverrides,
    /// What bounds its calls, where it differs from `[bulkhead]`; key by key, hence only checked here and put together
    /// from what is written.
    pub(crate) bulkhead: BulkheadConfig,
}
