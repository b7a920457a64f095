//! The traits that a plugin implements, and the adapter between them and the generated bindings.

use std::marker::PhantomData;

use crate::bindings::{attach, endpoint, exec, health_checks, images, input, logs, pause, plugin, stats, watch};
use crate::{
    AttachOptions, ByteSink, ByteStream, CheckResult, Duplex, Endpoint, ExecOptions, Execution, Found, Info, Key,
    LogOptions, Measurement, Page, Preparation, Report, Result, Spec, Status, WakeSource, log,
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

/// Somebody at the keyboard and the screen of a workload.
pub trait Attach {
    /// Puts the host in touch with a workload that runs.
    ///
    /// # Errors
    /// `conflict` if it does not run, or takes no input and is to.
    fn open(key: Key, options: AttachOptions) -> Result<Duplex>;
}

/// Bytes to the standard input of a workload.
pub trait Input {
    /// Opens it.
    ///
    /// # Errors
    /// `conflict` if the workload does not run or was not made with `stdin`.
    fn open(key: Key) -> Result<ByteSink>;
}

/// What workloads use.
pub trait Stats {
    /// What many use now; what does not run is left out.
    ///
    /// # Errors
    /// When the engine could not be asked.
    fn sample(keys: Vec<Key>) -> Result<Vec<Measurement>>;
}

/// Where workloads are reached.
pub trait Endpoints {
    /// The ports of a workload that can be reached from outside it; none if it does not run.
    ///
    /// # Errors
    /// `not-found` for a missing workload.
    fn list(key: Key) -> Result<Vec<Endpoint>>;
}

/// Workloads that are frozen for a while.
pub trait Pause {
    /// Freezes a workload that runs; one that is frozen is left alone.
    ///
    /// # Errors
    /// `conflict` for one that does not run.
    fn pause(key: Key) -> Result<()>;

    /// Lets it run on; one that runs is left alone.
    ///
    /// # Errors
    /// `conflict` for one that has ended or never ran.
    fn unpause(key: Key) -> Result<()>;
}

/// Images that are fetched before workloads are made of them.
pub trait Images {
    /// Has the engine fetch one; with `missing`, only if it has none of that name.
    ///
    /// # Errors
    /// `invalid` if it is no reference, `denied` if it may not be fetched.
    fn prepare(reference: String, missing: bool) -> Result<Preparation>;
}

/// News of changes.
pub trait Watch {
    /// Begins to watch all workloads of this backend.
    ///
    /// # Errors
    /// When the engine could not be asked.
    fn open() -> Result<WakeSource>;
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

impl<T: Backend + Attach> attach::exports::seawall::backend::attach::Guest for Adapter<T> {
    fn open(key: Key, options: AttachOptions) -> Result<Duplex> {
        log::report_panics();
        T::open(key, options)
    }
}

impl<T: Backend + Endpoints> endpoint::exports::seawall::backend::endpoint::Guest for Adapter<T> {
    fn list(key: Key) -> Result<Vec<Endpoint>> {
        log::report_panics();
        <T as Endpoints>::list(key)
    }
}

impl<T: Backend + Images> images::exports::seawall::backend::images::Guest for Adapter<T> {
    fn prepare(reference: String, missing: bool) -> Result<Preparation> {
        log::report_panics();
        T::prepare(reference, missing)
    }
}

impl<T: Backend + Input> input::exports::seawall::backend::input::Guest for Adapter<T> {
    fn open(key: Key) -> Result<ByteSink> {
        log::report_panics();
        T::open(key)
    }
}

impl<T: Backend + Pause> pause::exports::seawall::backend::pause::Guest for Adapter<T> {
    fn pause(key: Key) -> Result<()> {
        log::report_panics();
        T::pause(key)
    }

    fn unpause(key: Key) -> Result<()> {
        log::report_panics();
        T::unpause(key)
    }
}

impl<T: Backend + Stats> stats::exports::seawall::backend::stats::Guest for Adapter<T> {
    fn sample(keys: Vec<Key>) -> Result<Vec<Measurement>> {
        log::report_panics();
        T::sample(keys)
    }
}

impl<T: Backend + Watch> watch::exports::seawall::backend::watch::Guest for Adapter<T> {
    fn open() -> Result<WakeSource> {
        log::report_panics();
        T::open()
    }
}
