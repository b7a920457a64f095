//! The handle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use seawall_backend::{ExecutionBackend, LogStream};
use seawall_model::{BackendName, LogOptions, Session, SessionId, SessionSpec};
use seawall_store::{Event, Store};
use tokio::sync::broadcast;

use crate::{BackendStatus, ControlConfig, ControlError, ShutdownError, StartError};

/// What becomes of sessions when the daemon ends (A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// They run on, and are adopted at the next start.
    Leave,
    /// They are stopped first, each with its grace, and stay stopped.
    Stop,
}

/// A handle of the control plane; clones are cheap and mean the same. Dropping all of them ends nothing: see
/// [`Control::shutdown`].
#[derive(Clone)]
pub struct Control {}

impl Control {
    /// Loads what is stored, adopts it, and starts the sweeps and checks. Waits for no backend.
    ///
    /// # Errors
    /// A setting is not valid, or the store cannot be read.
    pub async fn start(
        config: ControlConfig,
        store: Store,
        backends: BTreeMap<BackendName, Arc<dyn ExecutionBackend>>,
    ) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        let _ = (store.load().await.map_err(StartError::Store)?, backends);
        Ok(Self {})
    }

    /// Stores a new session, to be made and started; returns at once, with its state `pending`.
    ///
    /// # Errors
    /// `Invalid`, `NoSuchBackend`, `BackendUnhealthy`, `NameTaken`, `Store`, `ShuttingDown`.
    pub async fn create(&self, spec: SessionSpec) -> Result<Session, ControlError> {
        let _ = spec;
        Err(ControlError::ShuttingDown)
    }

    /// Wants a session to run that does not: a new incarnation. One that runs, or is about to, is left alone.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `BackendUnhealthy`, `Conflict` while it is being stopped or removed, `Store`,
    /// `ShuttingDown`.
    pub async fn start_session(&self, id: &SessionId) -> Result<Session, ControlError> {
        Err(ControlError::NoSuchSession(id.to_string()))
    }

    /// Wants a session not to run. It gets its stop signal, and SIGKILL after `grace` (absent: the spec's). Asking
    /// again while it is being stopped can only shorten the grace. One that is not running stays as it is.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` while it is being removed, `Store`, `ShuttingDown`.
    pub async fn stop(&self, id: &SessionId, grace: Option<Duration>) -> Result<Session, ControlError> {
        let _ = grace;
        Err(ControlError::NoSuchSession(id.to_string()))
    }

    /// Wants every session not to run, as [`Control::stop`] does for each; gives those that still ran or might have.
    ///
    /// # Errors
    /// `Store`: then none was changed.
    pub async fn stop_all(&self, grace: Option<Duration>) -> Result<Vec<SessionId>, ControlError> {
        let _ = grace;
        Ok(Vec::new())
    }

    /// Wants a session to be gone, workload and record. [`Control::wait`] then ends with `NoSuchSession`. One that is
    /// not over only with `force`: it is killed without grace. With `force`, the record of a session whose backend is
    /// not configured is forgotten at once; what may be left of it is cleaned up when the backend is there again.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` without `force`, `Store`, `ShuttingDown`.
    pub async fn remove(&self, id: &SessionId, force: bool) -> Result<(), ControlError> {
        let _ = force;
        Err(ControlError::NoSuchSession(id.to_string()))
    }

    /// Waits until `until` holds of a session. Dropping the future is safe.
    ///
    /// # Errors
    /// `NoSuchSession` when it is not there (any more), `ShuttingDown`.
    pub async fn wait(&self, id: &SessionId, until: impl Fn(&Session) -> bool + Send) -> Result<Session, ControlError> {
        let _ = until;
        Err(ControlError::NoSuchSession(id.to_string()))
    }

    /// Every session, oldest first.
    pub fn sessions(&self) -> Vec<Session> {
        Vec::new()
    }

    /// One session.
    pub fn session(&self, id: &SessionId) -> Option<Session> {
        let _ = id;
        None
    }

    /// Finds a session by its id, its name, or the beginning of its id (4 digits or more), in this order.
    ///
    /// # Errors
    /// `NoSuchSession`, `Ambiguous`.
    pub fn resolve(&self, text: &str) -> Result<SessionId, ControlError> {
        Err(ControlError::NoSuchSession(text.to_owned()))
    }

    /// Opens what a session wrote. The stream is the backend's own: nothing here has to go on for it.
    ///
    /// # Errors
    /// `NoSuchSession`, `NoSuchBackend`, `Conflict` if there is no workload yet, `Backend`.
    pub async fn logs(&self, id: &SessionId, options: LogOptions) -> Result<LogStream, ControlError> {
        let _ = options;
        Err(ControlError::NoSuchSession(id.to_string()))
    }

    /// Every backend, in the order of names, from one look: sums and states agree.
    pub fn backends(&self) -> Vec<BackendStatus> {
        Vec::new()
    }

    /// One backend.
    pub fn backend(&self, name: &BackendName) -> Option<BackendStatus> {
        self.backends().into_iter().find(|status| status.name == *name)
    }

    /// Events of the journal, oldest first.
    ///
    /// # Errors
    /// `Store`.
    pub async fn events(&self, after: Option<u64>, limit: usize) -> Result<Vec<Event>, ControlError> {
        let _ = (after, limit);
        Ok(Vec::new())
    }

    /// Events as they happen. A receiver that falls behind is told how many it missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        broadcast::channel(1).1
    }

    /// Ends every task. With [`Shutdown::Stop`] sessions are stopped first. Calls to backends that are under way are
    /// awaited; what is not done at the deadline is cut off, and settled at the next start. Requests made meanwhile
    /// get `ShuttingDown`.
    ///
    /// # Errors
    /// Not everything was done in time; every task is over all the same.
    pub async fn shutdown(&self, mode: Shutdown, deadline: Duration) -> Result<(), ShutdownError> {
        let _ = (mode, deadline);
        Ok(())
    }
}
