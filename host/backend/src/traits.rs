//! The trait that every execution backend implements.

use std::sync::Arc;

use async_trait::async_trait;
use seawall_model::{
    CheckResult, ExecOptions, Incarnation, Inspection, Key, LogOptions, Page, Report, SessionId, SessionName,
    SessionSpec, Signal, Status,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Execution, LogStream};

/// An optional interface, found by what a backend exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Interface {
    /// `logs.open`.
    Logs,
    /// `exec.run`.
    Exec,
    /// `health-checks.last`: its engine carries out a session's health check by itself.
    HealthChecks,
}

impl Interface {
    /// The interface's name in `wit/backend`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Exec => "exec",
            Self::HealthChecks => "health-checks",
        }
    }
}

/// Who a backend is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Info {
    /// The plugin's own name, which need not be the configured one.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// JSON Schema of its configuration; empty for none.
    pub config_schema: String,
    /// JSON Schema of `options` in a spec; empty for none.
    pub options_schema: String,
    /// What it can do besides the required.
    pub interfaces: Vec<Interface>,
}

impl Info {
    /// Whether the backend exports `interface`.
    pub fn has(&self, interface: Interface) -> bool {
        self.interfaces.contains(&interface)
    }
}

/// Something that runs sessions. `wit/backend/execution-backend.wit` has the contract of each function; in short: every
/// call is idempotent and prompt, may be repeated, and an error never means that a workload is gone.
///
/// Dropping the future of a call cancels it; what it had asked the engine for may still happen.
#[async_trait]
pub trait ExecutionBackend: Send + Sync + 'static {
    /// Who it is and what it can do. Does not change while it is loaded.
    fn info(&self) -> &Info;

    /// Can its engine be reached?
    async fn check(&self) -> Result<Report, Error>;

    /// Makes the workload of `key` without starting it, or meets the one that is there.
    async fn create(&self, key: &Key, name: &SessionName, spec: &SessionSpec) -> Result<Status, Error>;

    /// Starts a created workload.
    async fn start(&self, key: &Key) -> Result<Status, Error>;

    /// Sends a signal and does not wait for its effect.
    async fn signal(&self, key: &Key, signal: Signal) -> Result<(), Error>;

    /// Removes a workload; a running one only with `force`.
    async fn remove(&self, key: &Key, force: bool) -> Result<(), Error>;

    /// The status of many; what does not exist is left out. Positions are distinct and within `keys`.
    async fn inspect(&self, keys: &[Key]) -> Result<Inspection, Error>;

    /// A page of every workload of this backend.
    async fn list(&self, cursor: Option<&str>) -> Result<Page, Error>;

    /// Whether the host can remove its workloads without it: see [`expunge`](Self::expunge).
    fn can_expunge(&self) -> bool {
        false
    }

    /// Ends and removes every workload of a session by the host's own hand, without asking the plugin, and gives the
    /// incarnations that there were. They are known by their stamp. For a plugin that is broken.
    async fn expunge(&self, session: &SessionId) -> Result<Vec<Incarnation>, Error> {
        Err(Error::Unsupported(format!(
            "the plugin {} was granted no capability by which the host could remove session {session}",
            self.info().name
        )))
    }

    /// Its output. Only with [`Interface::Logs`].
    async fn logs(&self, key: &Key, options: &LogOptions) -> Result<LogStream, Error> {
        let _ = options;
        Err(unsupported(self.info(), &key.session, Interface::Logs))
    }

    /// Runs a command in it. Only with [`Interface::Exec`]. Not idempotent, and hence never repeated.
    async fn exec(&self, key: &Key, options: &ExecOptions) -> Result<Execution, Error> {
        let _ = options;
        Err(unsupported(self.info(), &key.session, Interface::Exec))
    }

    /// How its engine's newest check of its health went. Only with [`Interface::HealthChecks`].
    async fn last_health_check(&self, key: &Key) -> Result<Option<CheckResult>, Error> {
        Err(unsupported(self.info(), &key.session, Interface::HealthChecks))
    }
}

fn unsupported(info: &Info, session: &SessionId, interface: Interface) -> Error {
    Error::Unsupported(format!(
        "the backend of session {session} (plugin {}) does not export `{}`",
        info.name,
        interface.as_str()
    ))
}

/// One backend with several owners.
#[async_trait]
impl<B: ExecutionBackend + ?Sized> ExecutionBackend for Arc<B> {
    fn info(&self) -> &Info {
        (**self).info()
    }

    async fn check(&self) -> Result<Report, Error> {
        (**self).check().await
    }

    async fn create(&self, key: &Key, name: &SessionName, spec: &SessionSpec) -> Result<Status, Error> {
        (**self).create(key, name, spec).await
    }

    async fn start(&self, key: &Key) -> Result<Status, Error> {
        (**self).start(key).await
    }

    async fn signal(&self, key: &Key, signal: Signal) -> Result<(), Error> {
        (**self).signal(key, signal).await
    }

    async fn remove(&self, key: &Key, force: bool) -> Result<(), Error> {
        (**self).remove(key, force).await
    }

    async fn inspect(&self, keys: &[Key]) -> Result<Inspection, Error> {
        (**self).inspect(keys).await
    }

    async fn list(&self, cursor: Option<&str>) -> Result<Page, Error> {
        (**self).list(cursor).await
    }

    fn can_expunge(&self) -> bool {
        (**self).can_expunge()
    }

    async fn expunge(&self, session: &SessionId) -> Result<Vec<Incarnation>, Error> {
        (**self).expunge(session).await
    }

    async fn logs(&self, key: &Key, options: &LogOptions) -> Result<LogStream, Error> {
        (**self).logs(key, options).await
    }

    async fn exec(&self, key: &Key, options: &ExecOptions) -> Result<Execution, Error> {
        (**self).exec(key, options).await
    }

    async fn last_health_check(&self, key: &Key) -> Result<Option<CheckResult>, Error> {
        (**self).last_health_check(key).await
    }
}
