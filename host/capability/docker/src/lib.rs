//! Containers on one Docker Engine, within a grant. The only user of bollard.
//!
//! This is the security boundary of `wit/host/docker.wit`: whoever calls describes a container in the words of
//! [`Container`] and never in Docker's own. Every container gets a name that is made of its key, and a stamp; every
//! call checks name, stamp and, once known, the Engine's id, so that a caller sees and touches its own only.
//!
//! Nothing is remembered but how to talk to the Engine, and no task is started but one that ends a command whose client is
//! gone: dropping a call's future closes its connection, and a stream of logs lives in the value that is handed out.
//!
//! bollard writes requests to the `log` facade, environment and all: nothing may turn `log` records into output.
//!
//! Deliberately absent: deadlines and retries (the caller's), and Docker's host configuration.

mod attach;
mod config;
mod connection;
mod container;
mod copies;
mod endpoint;
mod endpoints;
mod exec;
mod fault;
mod grant;
mod guard;
mod identity;
mod input;
mod kill;
mod lifecycle;
mod listing;
mod logs;
mod mounts;
mod pause;
mod pull;
mod stats;
mod status;
mod watch;
mod wire;

pub use container::{Container, Engine, HealthCheck};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use grant::{DockerGrant, MountGrant};
#[doc(hidden)]
pub use logs::frames;

use std::path::PathBuf;
use std::sync::Arc;

use seawall_backend::{Error, Execution, LogStream};
use seawall_model::{
    BackendName, CheckResult, ExecOptions, Found, Incarnation, Key, LogOptions, Page, SessionId, Signal, Status,
    StoreId,
};

use crate::connection::Connection;
use crate::identity::Namespace;

/// Whose containers these are, and what must never be mounted into one.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The data directory's id.
    pub store: StoreId,
    /// The backend that the capability is granted to.
    pub backend: BackendName,
    /// Data directory, cache, API socket: neither they nor what holds them can be mounted. The Engine's own socket is
    /// always protected.
    pub protected: Vec<PathBuf>,
}

/// Containers of one backend on one Engine. Cheap to clone; connects when it is first used, and again when the
/// Engine went and came back.
#[derive(Clone, Debug)]
pub struct Docker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    scope: Scope,
    namespace: Namespace,
    grant: DockerGrant,
    connection: Connection,
}

impl Docker {
    /// Does not touch the network.
    pub fn new(scope: Scope, grant: DockerGrant) -> Self {
        let namespace = Namespace { store: scope.store.clone(), backend: scope.backend.clone() };
        let connection = Connection::new(grant.host.as_deref());
        Self { inner: Arc::new(Inner { scope, namespace, grant, connection }) }
    }

    /// Asks the Engine for its version.
    ///
    /// # Errors
    /// `Unavailable` where it cannot be reached, `Denied` where it refuses us.
    pub async fn ping(&self) -> Result<Engine, Error> {
        self.inner.connection.ping().await
    }

    /// Creates the container, or meets the one that an earlier try of the same key made.
    ///
    /// # Errors
    /// `Invalid` and `Denied` name the field; then nothing was made. `Conflict` where somebody else has the name.
    pub async fn create(&self, container: &Container) -> Result<Status, Error> {
        self.inner.create(container).await
    }

    /// Starts it; one that runs is left alone.
    ///
    /// # Errors
    /// `Conflict` for one that ended, `NotFound`, `Invalid` where the Engine cannot start what the spec says.
    pub async fn start(&self, key: &Key) -> Result<Status, Error> {
        self.inner.start(key).await
    }

    /// Sends a signal and does not wait. A container that is missing or does not run is success.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn signal(&self, key: &Key, signal: Signal) -> Result<(), Error> {
        self.inner.signal(key, signal).await
    }

    /// Removes the container and its anonymous volumes. A missing one is success.
    ///
    /// # Errors
    /// `Conflict` for one that runs, without `force`.
    pub async fn remove(&self, key: &Key, force: bool) -> Result<(), Error> {
        self.inner.remove(key, force).await
    }

    /// Removes every container of a session, running ones too, and gives the incarnations that there were.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn expunge(&self, session: &SessionId) -> Result<Vec<Incarnation>, Error> {
        self.inner.expunge(session).await
    }

    /// Many at once; what is not there is left out.
    ///
    /// # Errors
    /// `Unavailable`: never an answer that leaves out what could not be asked about.
    pub async fn inspect(&self, keys: &[Key]) -> Result<Vec<Found>, Error> {
        self.inner.inspect(keys).await
    }

    /// A page of every container of this backend, ended ones too.
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` for a cursor that is none.
    pub async fn list(&self, cursor: Option<&str>) -> Result<Page, Error> {
        self.inner.list(cursor).await
    }

    /// Its output so far, and with `follow` what comes after.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`; once it flows, errors come as the stream's last item.
    pub async fn logs(&self, key: &Key, options: &LogOptions) -> Result<LogStream, Error> {
        self.inner.logs(key, options).await
    }

    /// Runs a command in a container that runs.
    ///
    /// # Errors
    /// `Conflict` if it does not run, `Invalid`, `NotFound`, `Unavailable`.
    pub async fn exec(&self, key: &Key, options: &ExecOptions) -> Result<Execution, Error> {
        exec::run(&self.inner, key, options).await
    }

    /// How the Engine's newest check of its health went.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn last_health_check(&self, key: &Key) -> Result<Option<CheckResult>, Error> {
        self.inner.last_health_check(key).await
    }
}
