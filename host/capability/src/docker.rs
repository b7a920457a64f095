//! `seawall:host/docker`: the boundary between a plugin and `seawall-docker`, which decides what may be had.

use std::net::IpAddr;
use std::time::Duration;

use seawall_docker::{Container, Docker, HealthCheck};
use seawall_model::{HealthCommand, Key, Mount, MountSource, Network, Port, Protocol, Secret, Size, Ulimit};
use tracing::{Instrument as _, Span};
use wasmtime::component::Resource;

use crate::bindings::{docker, types};
use crate::context::Context;
use crate::convert::{Refusal, from_guest, to_guest};
use crate::error::HostError;
use crate::streams::{ByteSink, ByteStream, Duplex, Execution, Prepared, WakeSource};
use crate::weight::Weight as _;

const NAME: &str = "docker";

/// What the engine is asked for.
fn span(operation: &'static str) -> Span {
    tracing::debug_span!("docker", operation)
}

impl Context {
    fn docker(&mut self, bytes: usize) -> Result<Docker, HostError> {
        self.enter_granted(NAME, bytes)?;
        // Linked only where it is granted; that it is not there would be a defect of the host.
        let missing = || HostError::Trap(wasmtime::Error::msg("`docker` is linked, not granted"));
        self.granted.docker.clone().ok_or_else(missing)
    }
}

impl docker::Host for Context {
    async fn ping(&mut self) -> Result<docker::Engine, HostError> {
        let engine = self.docker(0)?.ping().instrument(span("ping")).await?;
        self.answer(engine.attributes.weight())?;
        Ok(docker::Engine {
            version: engine.version,
            api_version: engine.api_version,
            attributes: engine.attributes,
            cpus: engine.cpus,
            memory: engine.memory,
        })
    }

    async fn create(&mut self, container: docker::Container) -> Result<types::Status, HostError> {
        let docker = self.docker(container.weight())?;
        let container = self::container(container)?;
        self.may_change(&container.key)?;
        let status = docker.create(&container).instrument(span("create")).await?;
        let status = to_guest::status(status);
        self.answer(status.weight())?;
        Ok(status)
    }

    async fn start(&mut self, key: types::Key) -> Result<types::Status, HostError> {
        let docker = self.docker(key.weight())?;
        let status = docker.start(&self.changed(key)?).instrument(span("start")).await?;
        let status = to_guest::status(status);
        self.answer(status.weight())?;
        Ok(status)
    }

    async fn signal(&mut self, key: types::Key, signal: u32) -> Result<(), HostError> {
        let docker = self.docker(key.weight())?;
        Ok(docker.signal(&self.changed(key)?, from_guest::signal(signal)?).instrument(span("signal")).await?)
    }

    async fn remove(&mut self, key: types::Key, force: bool) -> Result<(), HostError> {
        let docker = self.docker(key.weight())?;
        Ok(docker.remove(&self.changed(key)?, force).instrument(span("remove")).await?)
    }

    async fn inspect(&mut self, keys: Vec<types::Key>) -> Result<Vec<types::Found>, HostError> {
        let docker = self.docker(keys.weight())?;
        let found = docker.inspect(&from_guest::keys(keys)?).instrument(span("inspect")).await?;
        let found: Vec<_> = found.into_iter().map(to_guest::found).collect();
        self.answer(found.weight())?;
        Ok(found)
    }

    async fn list(&mut self, cursor: Option<String>) -> Result<types::Page, HostError> {
        let docker = self.docker(cursor.weight())?;
        let page = docker.list(from_guest::cursor(cursor)?.as_deref()).instrument(span("list")).await?;
        let page = to_guest::page(page);
        self.answer(page.weight())?;
        Ok(page)
    }

    async fn logs(&mut self, key: types::Key, options: types::LogOptions) -> Result<Resource<ByteStream>, HostError> {
        let docker = self.docker(key.weight())?;
        let key = from_guest::key(key)?;
        let stream = docker.logs(&key, &from_guest::log_options(options)).instrument(span("logs")).await?;
        self.push_stream(stream, key)
    }

    async fn exec(&mut self, key: types::Key, options: types::ExecOptions) -> Result<Resource<Execution>, HostError> {
        let docker = self.docker(key.weight() + options.weight())?;
        let key = self.changed(key)?;
        let execution = docker.exec(&key, &from_guest::exec_options(options)).instrument(span("exec")).await?;
        self.push_execution(execution, key)
    }

    async fn attach(&mut self, key: types::Key, options: types::AttachOptions) -> Result<Resource<Duplex>, HostError> {
        let docker = self.docker(key.weight())?;
        let key = self.changed(key)?;
        let options = from_guest::attach_options(options);
        let attachment = docker.attach(&key, &options).instrument(span("attach")).await?;
        self.push_duplex(attachment, key)
    }

    async fn input(&mut self, key: types::Key) -> Result<Resource<ByteSink>, HostError> {
        let docker = self.docker(key.weight())?;
        let key = self.changed(key)?;
        let input = docker.input(&key).instrument(span("input")).await?;
        self.push_sink(input, key)
    }

    async fn stats(&mut self, keys: Vec<types::Key>) -> Result<Vec<types::Measurement>, HostError> {
        let docker = self.docker(keys.weight())?;
        let measurements = docker.stats(&from_guest::keys(keys)?).instrument(span("stats")).await?;
        let measurements: Vec<_> = measurements.into_iter().map(to_guest::measurement).collect();
        self.answer(measurements.weight())?;
        Ok(measurements)
    }

    async fn pause(&mut self, key: types::Key) -> Result<(), HostError> {
        let docker = self.docker(key.weight())?;
        Ok(docker.pause(&self.changed(key)?).instrument(span("pause")).await?)
    }

    async fn unpause(&mut self, key: types::Key) -> Result<(), HostError> {
        let docker = self.docker(key.weight())?;
        Ok(docker.unpause(&self.changed(key)?).instrument(span("unpause")).await?)
    }

    async fn watch(&mut self) -> Result<Resource<WakeSource>, HostError> {
        let wakes = self.docker(0)?.watch().instrument(span("watch")).await?;
        self.push_wakes(wakes)
    }

    async fn endpoints(&mut self, key: types::Key) -> Result<Vec<types::Endpoint>, HostError> {
        let docker = self.docker(key.weight())?;
        let endpoints = docker.endpoints(&from_guest::key(key)?).instrument(span("endpoints")).await?;
        let endpoints: Vec<_> = endpoints.into_iter().map(to_guest::endpoint).collect();
        self.answer(endpoints.weight())?;
        Ok(endpoints)
    }

    async fn pull(&mut self, reference: String, missing: bool) -> Result<Resource<Prepared>, HostError> {
        let docker = self.docker(reference.weight())?;
        self.may_fetch()?;
        let progress = docker.pull(&reference, missing).instrument(span("pull")).await?;
        self.push_preparation(progress, reference)
    }

    async fn last_health_check(&mut self, key: types::Key) -> Result<Option<types::CheckResult>, HostError> {
        let docker = self.docker(key.weight())?;
        let last = docker
            .last_health_check(&from_guest::key(key)?)
            .instrument(span("last_health_check"))
            .await?
            .map(to_guest::check_result);
        self.answer(last.weight())?;
        Ok(last)
    }
}

/// From the guest's words to the host's. What may be had is decided by `seawall-docker`.
fn container(given: docker::Container) -> Result<Container, Refusal> {
    let key: Key = from_guest::key(given.key)?;
    let mut container = Container::new(key, given.image);
    container.name = given.name;
    container.entrypoint = given.entrypoint;
    container.command = given.command;
    container.env = given.env.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    container.labels = given.labels;
    container.hostname = given.hostname;
    container.working_dir = given.working_dir;
    container.user = given.user;
    container.mounts = given.mounts.into_iter().map(mount).collect();
    container.memory = given.memory;
    container.cpu_millis = given.cpu_millis;
    container.default_cpu_millis = given.default_cpu_millis;
    container.processes = given.processes;
    container.ulimits = given
        .ulimits
        .into_iter()
        .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
        .collect();
    container.tty = given.tty;
    container.stdin = given.stdin;
    container.init = given.init;
    container.read_only_root = given.read_only_root;
    container.drop_capabilities = given.drop_capabilities;
    container.add_capabilities = given.add_capabilities;
    container.privileged = given.privileged;
    container.network = given.network.map(|network| match network {
        docker::Network::Internet => Network::Internet,
        docker::Network::Isolated => Network::Isolated,
        docker::Network::Host => Network::Host,
    });
    container.ports =
        given.ports.into_iter().enumerate().map(|(at, given)| port(at, given)).collect::<Result<_, _>>()?;
    container.stop_signal = match given.stop_signal.map(from_guest::signal) {
        None => None,
        Some(Ok(signal)) => Some(signal),
        Some(Err(refusal)) => return Err(Refusal::new("stop_signal", refusal.message)),
    };
    container.stop_grace = given.stop_grace.map(Duration::from_millis);
    container.health_check = match given.health_check {
        docker::HealthCheck::Image => HealthCheck::Image,
        docker::HealthCheck::Disabled => HealthCheck::Disabled,
        docker::HealthCheck::Command(check) => HealthCheck::Command(HealthCommand {
            command: check.command,
            interval: Duration::from_millis(check.interval),
            timeout: Duration::from_millis(check.timeout),
            start_period: Duration::from_millis(check.start_period),
            start_interval: check.start_interval.map(Duration::from_millis),
            retries: check.retries,
        }),
    };
    container.log_max_size = given.log_max_size;
    container.log_max_files = given.log_max_files;
    Ok(container)
}

fn mount(given: docker::Mount) -> Mount {
    let source = match given.source {
        docker::MountSource::Bind(path) => MountSource::Bind(path),
        docker::MountSource::Volume(name) => MountSource::Volume(name),
        docker::MountSource::Tmpfs(size) => MountSource::Tmpfs(size.map(Size)),
    };
    Mount::new(source, given.target, given.read_only)
}

fn port(at: usize, given: docker::Port) -> Result<Port, Refusal> {
    let address = match given.address.map(|address| address.parse::<IpAddr>()) {
        None => None,
        Some(Ok(address)) => Some(address),
        Some(Err(_)) => return Err(Refusal::new(format!("ports[{at}].address"), "no IP address")),
    };
    let protocol = match given.protocol {
        docker::Protocol::Tcp => Protocol::Tcp,
        docker::Protocol::Udp => Protocol::Udp,
    };
    Ok(Port { container: given.container, host: given.host, address, protocol })
}
