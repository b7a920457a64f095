//! The trait that every execution backend implements.

use std::sync::Arc;

use async_trait::async_trait;
use seawall_model::{
    AttachOptions, CheckResult, Endpoint, ExecOptions, Incarnation, Inspection, Key, LogOptions, Measurement, Page,
    Report, SessionId, SessionName, SessionSpec, Signal, Status,
};
use serde::{Deserialize, Serialize};

use crate::{Attachment, Error, Execution, Input, LogStream, Preparation, Wakes};

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
    /// `attach.open`.
    Attach,
    /// `input.open`.
    Input,
    /// `stats.sample`.
    Stats,
    /// `endpoint.list`.
    Endpoint,
    /// `pause.pause` and `pause.unpause`.
    Pause,
    /// `images.prepare`.
    Images,
    /// `watch.open`.
    Watch,
}

impl Interface {
    /// The interface's name in `wit/backend`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Exec => "exec",
            Self::HealthChecks => "health-checks",
            Self::Attach => "attach",
            Self::Input => "input",
            Self::Stats => "stats",
            Self::Endpoint => "endpoint",
            Self::Pause => "pause",
            Self::Images => "images",
            Self::Watch => "watch",
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

    /// Puts the host in touch with it. Only with [`Interface::Attach`].
    async fn attach(&self, key: &Key, options: &AttachOptions) -> Result<Attachment, Error> {
        let _ = options;
        Err(unsupported(self.info(), &key.session, Interface::Attach))
    }

    /// Its standard input. Only with [`Interface::Input`].
    async fn input(&self, key: &Key) -> Result<Box<dyn Input>, Error> {
        Err(unsupported(self.info(), &key.session, Interface::Input))
    }

    /// What many use; what does not run is left out. Positions are distinct and within `keys`. Only with
    /// [`Interface::Stats`].
    async fn stats(&self, keys: &[Key]) -> Result<Vec<Measurement>, Error> {
        let _ = keys;
        Err(lacking(self.info(), Interface::Stats))
    }

    /// Where its ports are reached. Only with [`Interface::Endpoint`].
    async fn endpoints(&self, key: &Key) -> Result<Vec<Endpoint>, Error> {
        Err(unsupported(self.info(), &key.session, Interface::Endpoint))
    }

    /// Freezes it. Only with [`Interface::Pause`].
    async fn pause(&self, key: &Key) -> Result<(), Error> {
        Err(unsupported(self.info(), &key.session, Interface::Pause))
    }

    /// Lets it run on. Only with [`Interface::Pause`].
    async fn unpause(&self, key: &Key) -> Result<(), Error> {
        Err(unsupported(self.info(), &key.session, Interface::Pause))
    }

    /// Fetches an image; with `missing`, only if there is none of that name. Only with [`Interface::Images`].
    async fn prepare(&self, reference: &str, missing: bool) -> Result<Preparation, Error> {
        let _ = (reference, missing);
        Err(lacking(self.info(), Interface::Images))
    }

    /// News of changes. Only with [`Interface::Watch`].
    async fn watch(&self) -> Result<Wakes, Error> {
        Err(lacking(self.info(), Interface::Watch))
    }
}

fn lacking(info: &Info, interface: Interface) -> Error {
    Error::Unsupported(format!("the plugin {} does not export `{}`", info.name, interface.as_str()))
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

    async fn attach(&self, key: &Key, options: &AttachOptions) -> Result<Attachment, Error> {
        (**self).attach(key, options).await
    }

    async fn input(&self, key: &Key) -> Result<Box<dyn Input>, Error> {
        (**self).input(key).await
    }

    async fn stats(&self, keys: &[Key]) -> Result<Vec<Measurement>, Error> {
        (**self).stats(keys).await
    }

    async fn endpoints(&self, key: &Key) -> Result<Vec<Endpoint>, Error> {
        (**self).endpoints(key).await
    }

    async fn pause(&self, key: &Key) -> Result<(), Error> {
        (**self).pause(key).await
    }

    async fn unpause(&self, key: &Key) -> Result<(), Error> {
        (**self).unpause(key).await
    }

    async fn prepare(&self, reference: &str, missing: bool) -> Result<Preparation, Error> {
        (**self).prepare(reference, missing).await
    }

    async fn watch(&self) -> Result<Wakes, Error> {
        (**self).watch().await
    }
}
