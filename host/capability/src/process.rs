//! `seawall:host/process`: the boundary between a plugin and `seawall-process`, which decides what may run.

use seawall_model::Secret;
use seawall_process::{Process, Program, Rlimit};
use tracing::{Instrument as _, Span};
use wasmtime::component::Resource;

use crate::bindings::{process, types};
use crate::context::Context;
use crate::convert::{Refusal, from_guest, to_guest};
use crate::error::HostError;
use crate::streams::{ByteSink, ByteStream, Duplex, Execution, WakeSource};
use crate::weight::Weight as _;

const NAME: &str = "process";

/// What the engine is asked for.
fn span(operation: &'static str) -> Span {
    tracing::debug_span!("process", operation)
}

impl Context {
    fn process(&mut self, bytes: usize) -> Result<Process, HostError> {
        self.enter_granted(NAME, bytes)?;
        // Linked only where it is granted; that it is not there would be a defect of the host.
        let missing = || HostError::Trap(wasmtime::Error::msg("`process` is linked, not granted"));
        self.granted.process.clone().ok_or_else(missing)
    }
}

impl process::Host for Context {
    async fn ping(&mut self) -> Result<process::HostInfo, HostError> {
        let info = self.process(0)?.ping().instrument(span("ping")).await?;
        self.answer(info.attributes.weight())?;
        Ok(process::HostInfo { system: info.system, limits: info.limits, user: info.user, attributes: info.attributes })
    }

    async fn create(&mut self, program: process::Program) -> Result<types::Status, HostError> {
        let process = self.process(program.weight())?;
        let program = self::program(program)?;
        self.may_change(&program.key)?;
        let status = process.create(&program).instrument(span("create")).await?;
        let status = to_guest::status(status);
        self.answer(status.weight())?;
        Ok(status)
    }

    async fn start(&mut self, key: types::Key) -> Result<types::Status, HostError> {
        let process = self.process(key.weight())?;
        let status = process.start(&self.changed(key)?).instrument(span("start")).await?;
        let status = to_guest::status(status);
        self.answer(status.weight())?;
        Ok(status)
    }

    async fn signal(&mut self, key: types::Key, signal: u32) -> Result<(), HostError> {
        let process = self.process(key.weight())?;
        Ok(process.signal(&self.changed(key)?, from_guest::signal(signal)?).instrument(span("signal")).await?)
    }

    async fn remove(&mut self, key: types::Key, force: bool) -> Result<(), HostError> {
        let process = self.process(key.weight())?;
        Ok(process.remove(&self.changed(key)?, force).instrument(span("remove")).await?)
    }

    async fn inspect(&mut self, keys: Vec<types::Key>) -> Result<Vec<types::Found>, HostError> {
        let process = self.process(keys.weight())?;
        let found = process.inspect(&from_guest::keys(keys)?).instrument(span("inspect")).await?;
        let found: Vec<_> = found.into_iter().map(to_guest::found).collect();
        self.answer(found.weight())?;
        Ok(found)
    }

    async fn list(&mut self, cursor: Option<String>) -> Result<types::Page, HostError> {
        let process = self.process(cursor.weight())?;
        let page = process.list(from_guest::cursor(cursor)?.as_deref()).instrument(span("list")).await?;
        let page = to_guest::page(page);
        self.answer(page.weight())?;
        Ok(page)
    }

    async fn logs(&mut self, key: types::Key, options: types::LogOptions) -> Result<Resource<ByteStream>, HostError> {
        let process = self.process(key.weight())?;
        let key = from_guest::key(key)?;
        let stream = process.logs(&key, &from_guest::log_options(options)).instrument(span("logs")).await?;
        self.push_stream(stream, key)
    }

    async fn exec(&mut self, key: types::Key, options: types::ExecOptions) -> Result<Resource<Execution>, HostError> {
        let process = self.process(key.weight() + options.weight())?;
        let key = self.changed(key)?;
        let execution = process.exec(&key, &from_guest::exec_options(options)).instrument(span("exec")).await?;
        self.push_execution(execution, key)
    }

    async fn attach(&mut self, key: types::Key, options: types::AttachOptions) -> Result<Resource<Duplex>, HostError> {
        let process = self.process(key.weight())?;
        let key = self.changed(key)?;
        let options = from_guest::attach_options(options);
        let attachment = process.attach(&key, &options).instrument(span("attach")).await?;
        self.push_duplex(attachment, key)
    }

    async fn input(&mut self, key: types::Key) -> Result<Resource<ByteSink>, HostError> {
        let process = self.process(key.weight())?;
        let key = self.changed(key)?;
        let input = process.input(&key).instrument(span("input")).await?;
        self.push_sink(input, key)
    }

    async fn stats(&mut self, keys: Vec<types::Key>) -> Result<Vec<types::Measurement>, HostError> {
        let process = self.process(keys.weight())?;
        let measurements = process.stats(&from_guest::keys(keys)?).instrument(span("stats")).await?;
        let measurements: Vec<_> = measurements.into_iter().map(to_guest::measurement).collect();
        self.answer(measurements.weight())?;
        Ok(measurements)
    }

    async fn pause(&mut self, key: types::Key) -> Result<(), HostError> {
        let process = self.process(key.weight())?;
        Ok(process.pause(&self.changed(key)?).instrument(span("pause")).await?)
    }

    async fn unpause(&mut self, key: types::Key) -> Result<(), HostError> {
        let process = self.process(key.weight())?;
        Ok(process.unpause(&self.changed(key)?).instrument(span("unpause")).await?)
    }

    async fn watch(&mut self) -> Result<Resource<WakeSource>, HostError> {
        let wakes = self.process(0)?.watch().instrument(span("watch")).await?;
        self.push_wakes(wakes)
    }
}

/// From the guest's words to the host's. What may run is decided by `seawall-process`.
fn program(given: process::Program) -> Result<Program, Refusal> {
    let mut program = Program::new(from_guest::key(given.key)?, given.command);
    program.env = given.env.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    program.working_dir = given.working_dir;
    program.user = given.user;
    program.memory = given.memory;
    program.cpu_millis = given.cpu_millis;
    program.processes = given.processes;
    program.rlimits = given
        .rlimits
        .into_iter()
        .map(|limit| Rlimit { name: limit.name, soft: limit.soft, hard: limit.hard })
        .collect();
    program.tty = given.tty;
    program.stdin = given.stdin;
    program.log_max_size = given.log_max_size;
    program.log_max_files = given.log_max_files;
    Ok(program)
}
