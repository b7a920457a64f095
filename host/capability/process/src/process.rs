//! The capability itself: one method for each function of `wit/host/process.wit`.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal as Kill, pidfd_open, pidfd_send_signal};
use seawall_backend::{Error, LogStream};
use seawall_model::{
    BackendName, Found, Health, Incarnation, Key, LogOptions, Page, SessionId, Signal, State, Status, StoreId, Workload,
};
use seawall_supervisor::protocol::{Reply, Request};
use seawall_supervisor::record::{Ended, Failure};
use seawall_supervisor::{Outcome, lock, signal};
use tokio::io::AsyncReadExt;

use crate::cgroups::Machine;
use crate::check::Granted;
use crate::client::{self, Refused};
use crate::pause::is_frozen;
use crate::readers::Readers;
use crate::runs::{self, Phase, Run};
use crate::{HostInfo, ProcessGrant, Program, follow};

/// Workloads on one page of a listing.
const PAGE: usize = 1000;
/// How long a supervisor that another call started may take to begin.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long a killed tree may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at something that changes within milliseconds.
const LOOK: Duration = Duration::from_millis(5);

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
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) scope: Scope,
    pub(crate) granted: Granted,
    machine: Machine,
    pub(crate) readers: Readers,
}

impl Process {
    /// Checks the grant and makes the directory of run directories. Blocking, for a moment.
    ///
    /// # Errors
    /// The grant names an unknown user or a relative path, or the directory cannot be used.
    pub fn new(scope: Scope, grant: ProcessGrant) -> Result<Self, SetupError> {
        let granted = Granted::new(grant)?;
        // The supervisor leaves the daemon's directory, and a session may.
        let absolute = |path: &PathBuf| {
            std::path::absolute(path).map_err(|source| SetupError::Runs { path: path.clone(), source })
        };
        let scope = Scope { runs: absolute(&scope.runs)?, supervisor: absolute(&scope.supervisor)?, ..scope };
        runs::prepare(&scope, granted.root())
            .map_err(|source| SetupError::Runs { path: scope.runs.clone(), source })?;
        Ok(Self { inner: Arc::new(Inner { scope, granted, machine: Machine::detect(), readers: Readers::default() }) })
    }

    /// What this machine is and can enforce.
    ///
    /// # Errors
    /// `Unavailable` when the supervisor's executable is missing.
    pub async fn ping(&self) -> Result<HostInfo, Error> {
        self.blocking(|inner| {
            let supervisor = &inner.scope.supervisor;
            if !supervisor.is_file() {
                return Err(no_supervisor(supervisor));
            }
            let name = rustix::system::uname();
            let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
            let isolation = if inner.granted.root() {
                "sessions run as another user, without capabilities or new privileges"
            } else {
                "none but limits: sessions run as the daemon's own user"
            };
            Ok(HostInfo {
                system: format!("{} {} {}", text(name.sysname()), text(name.release()), text(name.machine())),
                limits: inner.machine.limits().to_owned(),
                user: inner.granted.default_user().to_owned(),
                attributes: vec![("isolation".to_owned(), isolation.to_owned())],
            })
        })
        .await
    }

    /// Checks the program and makes its run directory, or meets the one that is there.
    ///
    /// # Errors
    /// `Invalid` and `Unsupported` name the field; `Denied` what is not granted.
    pub async fn create(&self, program: &Program) -> Result<Status, Error> {
        let program = program.clone();
        self.blocking(move |inner| {
            let key = &program.key;
            let run = match inner.find(&key.session, key.incarnation)? {
                Some(run) => run,
                None => {
                    let work = runs::work_of(&inner.scope, key);
                    let checked = inner.granted.check(&program, &inner.machine, &inner.scope, &work)?;
                    runs::create(&inner.scope, key, &checked)?
                }
            };
            inner.status(&run)
        })
        .await
    }

    /// Starts it under a supervisor and waits until it runs or could not be executed.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it ended; `Invalid` for a program that cannot be executed.
    pub async fn start(&self, key: &Key) -> Result<Status, Error> {
        let run = self.run(key).await?;
        let end = Instant::now() + START_PATIENCE;
        loop {
            let (seen, status) = self.settle(&run).await?;
            match seen {
                Phase::Running(Some(_)) => return Ok(status),
                Phase::Ended(Ended { failure: Some(failure), .. }, _) => return Err(not_executed(failure)),
                Phase::Ended(..) | Phase::Lost => {
                    return Err(Error::conflict(format!(
                        "incarnation {} of session {} has ended; a restart is a new incarnation",
                        key.incarnation, key.session
                    )));
                }
                Phase::Created { held: false } => match self.supervise(&run).await? {
                    // Ended is no failure here: it ran, if only for an instant.
                    Some(Outcome::Started) => return Ok(self.settle(&run).await?.1),
                    Some(Outcome::Failed | Outcome::Locked | Outcome::Begun) => {}
                    None => return Err(self.no_word(&run).await),
                },
                // Another call started it, perhaps one that was cut off.
                Phase::Created { held: true } | Phase::Running(None) => {}
            }
            if Instant::now() >= end {
                return Err(Error::unavailable(format!(
                    "the supervisor of session {} has not started its program for {} s",
                    key.session,
                    START_PATIENCE.as_secs()
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends a signal to its process group; 9 ends the whole tree.
    ///
    /// # Errors
    /// `Unavailable` when its supervisor does not answer; `Unsupported` for a signal that it cannot send.
    pub async fn signal(&self, key: &Key, signal: Signal) -> Result<(), Error> {
        let (session, incarnation) = (key.session.clone(), key.incarnation);
        if signal::from_number(signal.number()).is_none() {
            return Err(Error::Unsupported(format!("{signal} is a real-time signal, which processes cannot be sent")));
        }
        self.blocking(move |inner| {
            let Some(run) = inner.find(&session, incarnation)? else { return Ok(()) };
            inner.tell(&run, Request::Signal(signal.number()))
        })
        .await
    }

    /// Removes its run directory and log.
    ///
    /// # Errors
    /// `Conflict` if it runs and `force` is not set.
    pub async fn remove(&self, key: &Key, force: bool) -> Result<(), Error> {
        let (session, incarnation) = (key.session.clone(), key.incarnation);
        self.blocking(move |inner| {
            let Some(run) = inner.find(&session, incarnation)? else { return Ok(()) };
            inner.end(&run, force)?;
            inner.remove(&run)
        })
        .await
    }

    /// Ends and removes every process of a session, whatever its supervisors say, and gives the incarnations that there
    /// were.
    ///
    /// # Errors
    /// `Unavailable` when something of it could not be ended or removed.
    pub async fn expunge(&self, session: &SessionId) -> Result<Vec<Incarnation>, Error> {
        let session = session.clone();
        self.blocking(move |inner| {
            let keys = runs::keys(&inner.scope, None).map_err(|error| runs::unreadable(&inner.scope.runs, &error))?;
            let mut gone = Vec::new();
            for (_, incarnation) in keys.into_iter().filter(|(of, _)| *of == session) {
                let Some(run) = inner.find(&session, incarnation)? else { continue };
                if let Err(error) = inner.end(&run, true) {
                    tracing::warn!(%session, incarnation, %error, "its supervisor is killed");
                    inner.kill(&run)?;
                    inner.end(&run, true)?;
                }
                inner.remove(&run)?;
                gone.push(incarnation);
            }
            Ok(gone)
        })
        .await
    }

    /// Many at once; what is not there is left out.
    ///
    /// # Errors
    /// `Unavailable` when the run directories cannot be read.
    pub async fn inspect(&self, keys: &[Key]) -> Result<Vec<Found>, Error> {
        let keys: Vec<_> = keys.iter().map(|key| (key.session.clone(), key.incarnation)).collect();
        self.blocking(move |inner| {
            let found = keys.iter().enumerate().filter_map(|(position, (session, incarnation))| {
                let run = inner.find(session, *incarnation);
                let status = run.and_then(|run| run.map(|run| inner.status(&run)).transpose());
                match status {
                    Ok(status) => status.map(|status| Found { position, status }),
                    Err(error) => {
                        tracing::warn!(%session, incarnation, %error, "a process cannot be asked about");
                        Some(Found { position, status: unknown() })
                    }
                }
            });
            Ok(found.collect())
        })
        .await
    }

    /// A page of every process of this backend, in the order of session and incarnation.
    ///
    /// # Errors
    /// `Unavailable` when the run directories cannot be read; `Invalid` for a cursor that is none.
    pub async fn list(&self, cursor: Option<&str>) -> Result<Page, Error> {
        let after = cursor.map(parse_cursor).transpose()?;
        self.blocking(move |inner| {
            let keys = runs::keys(&inner.scope, after.as_ref())
                .map_err(|error| runs::unreadable(&inner.scope.runs, &error))?;
            let mut page = Page::default();
            for (session, incarnation) in keys {
                if page.workloads.len() == PAGE {
                    let last = page.workloads.last();
                    page.next = last.map(|last| format!("{}/{}", last.session, last.incarnation));
                    break;
                }
                let status = match inner.find(&session, incarnation) {
                    Ok(None) => continue,
                    Ok(Some(run)) => inner.status(&run).unwrap_or_else(|error| {
                        tracing::warn!(%session, incarnation, %error, "a process cannot be asked about");
                        unknown()
                    }),
                    // Whose it is cannot be told.
                    Err(error) => {
                        tracing::warn!(%session, incarnation, %error, "a run directory without a readable stamp");
                        continue;
                    }
                };
                page.workloads.push(Workload { session, incarnation, status });
            }
            Ok(page)
        })
        .await
    }

    /// Its output.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn logs(&self, key: &Key, options: &LogOptions) -> Result<LogStream, Error> {
        let run = self.run(key).await?;
        follow::open(run.dir.clone(), *options, &self.inner.readers)
            .await
            .map_err(|error| Error::unavailable(format!("the log of session {} cannot be read: {error}", key.session)))
    }

    pub(crate) async fn run(&self, key: &Key) -> Result<Run, Error> {
        let (session, incarnation) = (key.session.clone(), key.incarnation);
        self.blocking(move |inner| {
            inner.find(&session, incarnation)?.ok_or_else(|| {
                Error::NotFound(format!("there is no process of session {session}, incarnation {incarnation}"))
            })
        })
        .await
    }

    async fn settle(&self, run: &Run) -> Result<(Phase, Status), Error> {
        let run = run.clone();
        self.blocking(move |inner| inner.settle(&run)).await
    }

    /// Starts a supervisor and hears how it went; `None` if it went without a word.
    async fn supervise(&self, run: &Run) -> Result<Option<Outcome>, Error> {
        let supervisor = &self.inner.scope.supervisor;
        let opened = run.clone();
        let trouble = self
            .blocking(move |inner| {
                let unreadable = |error| runs::unreadable(opened.dir.path(), &error);
                inner.granted.recheck(&opened.program().map_err(unreadable)?, &inner.scope)?;
                opened.open_trouble().map_err(unreadable)
            })
            .await?;
        // What this daemon inherited without asking (a socket of a service manager, a pipe of a shell) is for it alone: a
        // session must not get it, and a supervisor must not hold it open.
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        // Dropped without being waited for, a child is reaped by tokio; it outlives this daemon.
        let mut child = tokio::process::Command::new(supervisor)
            .arg(run.dir.path())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(trouble)
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => no_supervisor(supervisor),
                _ => Error::unavailable(format!("{} cannot be started: {error}", supervisor.display())),
            })?;
        let mut word = [0];
        let heard = match child.stdout.as_mut() {
            Some(stdout) => stdout.read(&mut word).await.unwrap_or(0),
            None => 0,
        };
        let [word] = word;
        Ok((heard == 1).then(|| Outcome::from_byte(word)).flatten())
    }

    async fn no_word(&self, run: &Run) -> Error {
        let run = run.clone();
        let told = self
            .blocking(move |_| {
                let trouble = run.trouble();
                let told = if trouble.is_empty() { "it ended without a word".to_owned() } else { trouble };
                Ok(format!("the supervisor of {} failed: {told}", run.dir.path().display()))
            })
            .await;
        told.map_or_else(|error| error, Error::Other)
    }

    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|error| Error::Other(format!("the file work of a call was cut off: {error}")))?
    }
}

impl Inner {
    pub(crate) fn find(&self, session: &SessionId, incarnation: Incarnation) -> Result<Option<Run>, Error> {
        runs::find(&self.scope, session, incarnation).map_err(|error| runs::unreadable(&self.scope.runs, &error))
    }

    pub(crate) fn settle(&self, run: &Run) -> Result<(Phase, Status), Error> {
        let unreadable = |error| runs::unreadable(run.dir.path(), &error);
        let phase = run.settle().map_err(unreadable)?;
        let mut status = run.status(&phase);
        if status.state == State::Running && is_frozen(run).map_err(unreadable)? {
            (status.state, status.health) = (State::Paused, Health::Unknown);
        }
        Ok((phase, status))
    }

    fn status(&self, run: &Run) -> Result<Status, Error> {
        Ok(self.settle(run)?.1)
    }

    /// Tells its supervisor something. One that is not there any more has nothing to do.
    fn tell(&self, run: &Run, request: Request) -> Result<(), Error> {
        let end = Instant::now() + START_PATIENCE;
        loop {
            match client::ask(&run.dir, request.clone()) {
                Ok(Reply::Done) => return Ok(()),
                Ok(other) => return Err(Error::Other(format!("a supervisor answered {other:?} to {request:?}"))),
                Err(Refused::Unsupported(message)) => return Err(Error::Unsupported(message)),
                Err(Refused::Failed(message)) => {
                    return Err(Error::unavailable(format!(
                        "the supervisor in {} could not do it: {message}",
                        run.dir.path().display()
                    )));
                }
                Err(Refused::Nobody) => match self.settle(run)?.0 {
                    // It has not begun, or it is over.
                    Phase::Created { held: false } | Phase::Ended(..) | Phase::Lost => return Ok(()),
                    Phase::Created { held: true } | Phase::Running(_) if Instant::now() >= end => {
                        return Err(Error::unavailable(format!(
                            "the supervisor in {} does not listen",
                            run.dir.path().display()
                        )));
                    }
                    Phase::Created { held: true } | Phase::Running(_) => std::thread::sleep(LOOK),
                },
            }
        }
    }

    fn remove(&self, run: &Run) -> Result<(), Error> {
        run.remove(&self.scope)
            .map_err(|error| Error::unavailable(format!("{} cannot be removed: {error}", run.dir.path().display())))
    }

    /// Kills a supervisor that does not do what it is told. Its tree goes with it.
    fn kill(&self, run: &Run) -> Result<(), Error> {
        let fail = |error: io::Error| {
            Error::unavailable(format!("the supervisor in {} cannot be killed: {error}", run.dir.path().display()))
        };
        let holder = || lock::holder(&run.dir.lock()).map_err(fail);
        let Some(pid) = holder()? else { return Ok(()) };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(fail(error.into())),
        };
        // It is the holder's only if the lock is still held by that pid once it is open.
        if holder()? != Some(pid) {
            return Ok(());
        }
        match pidfd_send_signal(&process, Kill::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(fail(error.into())),
        }
    }

    /// Sees to it that nothing of it runs.
    fn end(&self, run: &Run, force: bool) -> Result<(), Error> {
        match self.settle(run)?.0 {
            Phase::Created { held: false } => return Ok(()),
            // Its supervisor is about to go.
            Phase::Ended(..) | Phase::Lost => {}
            Phase::Created { held: true } | Phase::Running(_) if !force => {
                return Err(Error::conflict(format!(
                    "{} runs; end it first, or remove it by force",
                    run.dir.path().display()
                )));
            }
            Phase::Created { held: true } | Phase::Running(_) => self.tell(run, Request::Kill)?,
        }
        let end = Instant::now() + KILL_PATIENCE;
        loop {
            match lock::is_held(&run.dir.lock()) {
                Ok(false) => break,
                Ok(true) if Instant::now() >= end => {
                    return Err(Error::unavailable(format!(
                        "the processes in {} were killed and do not end",
                        run.dir.path().display()
                    )));
                }
                Ok(true) => std::thread::sleep(LOOK),
                Err(error) => return Err(runs::unreadable(run.dir.path(), &error)),
            }
        }
        // A supervisor that was killed left its tree to us.
        self.settle(run).map(drop)
    }
}

fn parse_cursor(cursor: &str) -> Result<(SessionId, Incarnation), Error> {
    cursor
        .split_once('/')
        .and_then(|(session, incarnation)| Some((session.parse().ok()?, incarnation.parse().ok()?)))
        .ok_or_else(|| {
            let shown: String = cursor.chars().take(80).collect();
            Error::invalid("cursor", format!("{shown:?} was not given by an earlier page"))
        })
}

/// There is something, and it cannot be asked now.
fn unknown() -> Status {
    Status {
        state: State::Running,
        health: Health::Unknown,
        exit: None,
        created_at: None,
        started_at: None,
        handle: None,
    }
}

fn not_executed(failure: Failure) -> Error {
    match failure.field {
        Some(field) => Error::invalid(field, failure.message),
        None => Error::Other(failure.message),
    }
}

fn no_supervisor(path: &std::path::Path) -> Error {
    Error::unavailable(format!(
        "there is no supervisor at {}; it belongs beside the seawall executable, or SEAWALL_SUPERVISOR names it",
        path.display()
    ))
}
