//! `seawall:host/process`: the boundary between a plugin and `seawall-process`, which decides what may run.

use seawall_model::Secret;
use seawall_process::{Process, Program, Rlimit};
use wasmtime::component::Resource;

use crate::bindings::{process, types};
use crate::context::Context;
use crate::convert::{Refusal, from_guest, to_guest};
use crate::error::HostError;
use crate::streams::ByteStream;

const NAME: &str = "process";

/// What a status costs of the call's budget of bytes.
const STATUS: usize = 96;

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
        let info = self.process(0)?.ping().await?;
        self.answer(info.attributes.iter().map(|(name, value)| name.len() + value.len()).sum())?;
        Ok(process::HostInfo { system: info.system, limits: info.limits, user: info.user, attributes: info.attributes })
    }

    async fn create(&mut self, program: process::Program) -> Result<types::Status, HostError> {
        let process = self.process(weight(&program))?;
        let status = process.create(&self::program(program)?).await?;
        self.answer(STATUS)?;
        Ok(to_guest::status(status))
    }

    async fn start(&mut self, key: types::Key) -> Result<types::Status, HostError> {
        let process = self.process(key_weight(&key))?;
        let status = process.start(&from_guest::key(key)?).await?;
        self.answer(STATUS)?;
        Ok(to_guest::status(status))
    }

    async fn signal(&mut self, key: types::Key, signal: u32) -> Result<(), HostError> {
        let process = self.process(key_weight(&key))?;
        Ok(process.signal(&from_guest::key(key)?, from_guest::signal(signal)?).await?)
    }

    async fn remove(&mut self, key: types::Key, force: bool) -> Result<(), HostError> {
        let process = self.process(key_weight(&key))?;
        Ok(process.remove(&from_guest::key(key)?, force).await?)
    }

    async fn inspect(&mut self, keys: Vec<types::Key>) -> Result<Vec<types::Found>, HostError> {
        let process = self.process(keys.iter().map(key_weight).sum())?;
        let found = process.inspect(&from_guest::keys(keys)?).await?;
        self.answer(found.len() * STATUS)?;
        Ok(found.into_iter().map(to_guest::found).collect())
    }

    async fn list(&mut self, cursor: Option<String>) -> Result<types::Page, HostError> {
        let process = self.process(cursor.as_ref().map_or(0, String::len))?;
        let page = process.list(from_guest::cursor(cursor)?.as_deref()).await?;
        self.answer(page.workloads.len() * STATUS)?;
        Ok(to_guest::page(page))
    }

    async fn logs(&mut self, key: types::Key, options: types::LogOptions) -> Result<Resource<ByteStream>, HostError> {
        let process = self.process(key_weight(&key))?;
        let stream = process.logs(&from_guest::key(key)?, &from_guest::log_options(options)).await?;
        self.push_stream(stream)
    }
}

fn key_weight(key: &types::Key) -> usize {
    24 + key.handle.as_ref().map_or(0, Vec::len)
}

/// About what a description costs of the call's budget of bytes.
fn weight(program: &process::Program) -> usize {
    key_weight(&program.key)
        + program.command.iter().map(String::len).sum::<usize>()
        + program.env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
        + 32 * program.rlimits.len()
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
