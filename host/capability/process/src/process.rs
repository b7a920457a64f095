//! The capability itself: one method for each function of `wit/host/process.wit`.

use std::path::PathBuf;
use std::sync::Arc;

use seawall_backend::{Error, LogStream};
use seawall_model::{BackendName, Found, Key, LogOptions, Page, Signal, Status, StoreId};

use crate::{HostInfo, ProcessGrant, Program};

/// Whose processes these are, and where they are kept.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The data directory's id.
    pub store: StoreId,
    /// The backend.
    pub backend: BackendName,
    /// The directory of all run directories, shared by the backends of one daemon. Made if it is not there.
    pub runs: PathBuf,
    /// The `seawall-supervisor` executable.
    pub supervisor: PathBuf,
}

/// Why a grant cannot be carried out here.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The directory of run directories cannot be made or read.
    #[error("the directory of processes {} cannot be used", path.display())]
    Runs {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A field of the grant makes no sense on this machine.
    #[error("grants.process.{field}: {message}")]
    Grant {
        /// Which field.
        field: String,
        /// What is wrong, and what to do.
        message: String,
    },
}

/// Processes of one backend. Cheap to clone; keeps nothing between calls.
#[derive(Clone, Debug)]
pub struct Process {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    scope: Scope,
    grant: ProcessGrant,
}

impl Process {
    /// Checks the grant and makes the directory of run directories.
    ///
    /// # Errors
    /// The grant names an unknown user or a relative path, or the directory cannot be used.
    pub fn new(scope: Scope, grant: ProcessGrant) -> Result<Self, SetupError> {
        Ok(Self { inner: Arc::new(Inner { scope, grant }) })
    }

    /// What this machine is and can enforce.
    ///
    /// # Errors
    /// `Unavailable` when the supervisor's executable is missing.
    pub async fn ping(&self) -> Result<HostInfo, Error> {
        Err(self.missing())
    }

    /// Checks the program and makes its run directory, or meets the one that is there.
    ///
    /// # Errors
    /// `Invalid` and `Unsupported` name the field; `Denied` what is not granted.
    pub async fn create(&self, program: &Program) -> Result<Status, Error> {
        let _ = program;
        Err(self.missing())
    }

    /// Starts it under a supervisor and waits until it runs or could not be executed.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it ended; `Invalid` for a program that cannot be executed.
    pub async fn start(&self, key: &Key) -> Result<Status, Error> {
        let _ = key;
        Err(self.missing())
    }

    /// Sends a signal to its process group; 9 ends the whole tree.
    ///
    /// # Errors
    /// `Unavailable` when its supervisor does not answer.
    pub async fn signal(&self, key: &Key, signal: Signal) -> Result<(), Error> {
        let _ = (key, signal);
        Err(self.missing())
    }

    /// Removes its run directory and log.
    ///
    /// # Errors
    /// `Conflict` if it runs and `force` is not set.
    pub async fn remove(&self, key: &Key, force: bool) -> Result<(), Error> {
        let _ = (key, force);
        Err(self.missing())
    }

    /// Many at once; what is not there is left out.
    ///
    /// # Errors
    /// `Unavailable` when the run directories cannot be read.
    pub async fn inspect(&self, keys: &[Key]) -> Result<Vec<Found>, Error> {
        let _ = keys;
        Err(self.missing())
    }

    /// A page of every process of this backend, in the order of session and incarnation.
    ///
    /// # Errors
    /// `Unavailable` when the run directories cannot be read.
    pub async fn list(&self, cursor: Option<&str>) -> Result<Page, Error> {
        let _ = cursor;
        Err(self.missing())
    }

    /// Its output.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn logs(&self, key: &Key, options: &LogOptions) -> Result<LogStream, Error> {
        let _ = (key, options);
        Err(self.missing())
    }

    fn missing(&self) -> Error {
        Error::Unsupported(format!("processes of {} {:?}", self.inner.scope.backend, self.inner.grant.path))
    }
}
