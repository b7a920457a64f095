//! The traits that a plugin implements, and the adapter between them and the generated bindings.

use std::marker::PhantomData;

use crate::bindings::{exec, health_checks, logs, plugin};
use crate::{
    ByteStream, CheckResult, ExecOptions, Execution, Found, Info, Key, LogOptions, Page, Report, Result, Spec, Status,
    log,
};

/// What every plugin does. `wit/backend/execution-backend.wit` has the contract of each function; in short: every call
/// is idempotent and prompt, and an answer never leaves a workload out because it could not be asked about.
pub trait Backend {
    /// Who this is. Pure: the same every time, and no capability but `log` and `clock` answers.
    fn describe() -> Info;

    /// Can the engine be reached? Cheap: it is called every few seconds.
    ///
    /// # Errors
    /// `unavailable` if it cannot, `denied` if it refuses the credentials.
    fn check() -> Result<Report>;

    /// Makes the workload without starting it, or meets the one of this session and incarnation.
    ///
    /// # Errors
    /// `invalid` names every field that cannot be carried out; then nothing was made.
    fn create(spec: Spec) -> Result<Status>;

    /// Starts a created workload; one that runs is left alone.
    ///
    /// # Errors
    /// `conflict` for one that ended, `not-found` for one that was never created.
    fn start(key: Key) -> Result<Status>;

    /// Sends a signal, 1 to 64, Linux numbers. A workload that is missing or not running is success.
    ///
    /// # Errors
    /// When the engine could not be asked.
    fn signal(key: Key, signal: u32) -> Result<()>;

    /// Removes the workload; a running one only with `force`. A missing one is success.
    ///
    /// # Errors
    /// `conflict` for a running one without `force`.
    fn remove(key: Key, force: bool) -> Result<()>;

    /// The status of many; what does not exist is left out.
    ///
    /// # Errors
    /// When the engine could not be asked.
    fn inspect(keys: Vec<Key>) -> Result<Vec<Found>>;

    /// A page of every workload of this backend.
    ///
    /// # Errors
    /// When the engine could not be asked.
    fn list(cursor: Option<String>) -> Result<Page>;
}

/// Output that can be read.
pub trait Logs {
    /// Opens the output of a workload. The stream comes from a capability and is handed over unread.
    ///
    /// # Errors
    /// `not-found` for a missing workload.
    fn open(key: Key, options: LogOptions) -> Result<ByteStream>;
}

/// Commands in workloads that run.
pub trait Exec {
    /// Runs a command. The execution comes from a capability, or is made of a result
    /// ([`Execution::from_result`](crate::Execution::from_result)), and is handed over unread.
    ///
    /// # Errors
    /// `conflict` if the workload does not run, `invalid` for a field that cannot be carried out.
    fn run(key: Key, options: ExecOptions) -> Result<Execution>;
}

/// An engine that checks the health of its workloads by itself, and so carries out `health-check` of a spec.
pub trait HealthChecks {
    /// How the newest check of a workload went, if there was one.
    ///
    /// # Errors
    /// `not-found` for a missing workload.
    fn last(key: Key) -> Result<Option<CheckResult>>;
}

/// Implements the generated traits for any [`Backend`]. Named by [`export!`](crate::export) only.
#[derive(Debug)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: Backend> plugin::exports::seawall::backend::execution_backend::Guest for Adapter<T> {
    fn describe() -> Info {
        log::report_panics();
        T::describe()
    }

    fn check() -> Result<Report> {
        log::report_panics();
        T::check()
    }

    fn create(spec: Spec) -> Result<Status> {
        log::report_panics();
        T::create(spec)
    }

    fn start(key: Key) -> Result<Status> {
        log::report_panics();
        T::start(key)
    }

    fn signal(key: Key, signal: u32) -> Result<()> {
        log::report_panics();
        T::signal(key, signal)
    }

    fn remove(key: Key, force: bool) -> Result<()> {
        log::report_panics();
        T::remove(key, force)
    }

    fn inspect(keys: Vec<Key>) -> Result<Vec<Found>> {
        log::report_panics();
        T::inspect(keys)
    }

    fn list(cursor: Option<String>) -> Result<Page> {
        log::report_panics();
        T::list(cursor)
    }
}

impl<T: Backend + Logs> logs::exports::seawall::backend::logs::Guest for Adapter<T> {
    fn open(key: Key, options: LogOptions) -> Result<ByteStream> {
        log::report_panics();
        T::open(key, options)
    }
}

impl<T: Backend + Exec> exec::exports::seawall::backend::exec::Guest for Adapter<T> {
    fn run(key: Key, options: ExecOptions) -> Result<Execution> {
        log::report_panics();
        T::run(key, options)
    }
}

impl<T: Backend + HealthChecks> health_checks::exports::seawall::backend::health_checks::Guest for Adapter<T> {
    fn last(key: Key) -> Result<Option<CheckResult>> {
        log::report_panics();
        T::last(key)
    }
}
