//! The process backend: sessions are programs of this machine, each under a supervisor of its own.
//!
//! It holds the policy, what a session's spec means for a process; see [`program`]. The capability does the rest, and is
//! the boundary.

pub mod program;

use seawall_sdk::{
    Attach, AttachOptions, Backend, ByteSink, ByteStream, Duplex, Exec, ExecOptions, Execution, Found, Info, Input,
    Key, LogOptions, Logs, Measurement, Page, Pause, Report, Result, Spec, Stats, Status, WakeSource, Watch, process,
};

struct Process;

seawall_sdk::export!(Process with logs, exec, attach, input, stats, pause, watch);

impl Backend for Process {
    fn describe() -> Info {
        Info {
            name: "process".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Programs of this machine, each under a supervisor".to_owned(),
            config_schema: String::new(),
            options_schema: String::new(),
        }
    }

    fn check() -> Result<Report> {
        let host = process::ping()?;
        let mut attributes = vec![("limits".to_owned(), host.limits), ("user".to_owned(), host.user)];
        attributes.extend(host.attributes);
        Ok(Report { version: host.system, attributes })
    }

    fn create(spec: Spec) -> Result<Status> {
        process::create(&program::program(spec)?)
    }

    fn start(key: Key) -> Result<Status> {
        process::start(&key)
    }

    fn signal(key: Key, signal: u32) -> Result<()> {
        process::signal(&key, signal)
    }

    fn remove(key: Key, force: bool) -> Result<()> {
        process::remove(&key, force)
    }

    fn inspect(keys: Vec<Key>) -> Result<Vec<Found>> {
        process::inspect(&keys)
    }

    fn list(cursor: Option<String>) -> Result<Page> {
        process::list(cursor.as_deref())
    }
}

impl Logs for Process {
    fn open(key: Key, options: LogOptions) -> Result<ByteStream> {
        process::logs(&key, options)
    }
}

impl Exec for Process {
    fn run(key: Key, options: ExecOptions) -> Result<Execution> {
        process::exec(&key, &options)
    }
}

impl Attach for Process {
    fn open(key: Key, options: AttachOptions) -> Result<Duplex> {
        process::attach(&key, options)
    }
}

impl Input for Process {
    fn open(key: Key) -> Result<ByteSink> {
        process::input(&key)
    }
}

impl Stats for Process {
    fn sample(keys: Vec<Key>) -> Result<Vec<Measurement>> {
        process::stats(&keys)
    }
}

impl Pause for Process {
    fn pause(key: Key) -> Result<()> {
        process::pause(&key)
    }

    fn unpause(key: Key) -> Result<()> {
        process::unpause(&key)
    }
}

impl Watch for Process {
    fn open() -> Result<WakeSource> {
        process::watch()
    }
}
