//! From our words for a container to Docker's, refusing what is not granted.
//!
//! Fields of a refusal are named as in the session spec.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, PortBinding, PortMap, ResourcesUlimits,
    RestartPolicy, RestartPolicyNameEnum,
};
use seawall_backend::Error;
use seawall_model::{HealthCommand, InvalidSpec, Network, Problem, Protocol};

use crate::connection::Facts;
use crate::container::{Container, HealthCheck};
use crate::grant::{DockerGrant, capability};
use crate::identity::{BACKEND, HEALTH, INCARNATION, NAME, Namespace, PREFIX, SESSION, STORE};

/// Docker's own lower bounds.
const MIN_MEMORY: u64 = 6 << 20;
const MIN_CPU_MILLIS: u32 = 10;
const MIN_HEALTH: Duration = Duration::from_millis(1);
/// Of one log file, and how many are kept, where nobody says.
const LOG_SIZE: u64 = 10 << 20;
const LOG_FILES: u32 = 3;
const MIN_LOG_SIZE: u64 = 4 << 10;

/// Everything that is wrong with a container, found in one go.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    problems: Vec<Problem>,
    denied: Vec<String>,
    unsupported: Vec<String>,
}

impl Refusals {
    pub(crate) fn invalid(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { field: field.into(), message: message.into() });
    }

    pub(crate) fn denied(&mut self, field: &str, message: &str) {
        self.denied.push(format!("{field}: {message}"));
    }

    fn unsupported(&mut self, field: &str, message: &str) {
        self.unsupported.push(format!("{field}: {message}"));
    }

    /// # Errors
    /// The worst of what was found: what can never be, before what is not granted, before what this Engine lacks.
    fn check(self, namespace: &Namespace) -> Result<(), Error> {
        if !self.problems.is_empty() {
            return Err(Error::Invalid(InvalidSpec { problems: self.problems }));
        }
        if !self.denied.is_empty() {
            let table = format!("[backend.{}.grants.docker]", namespace.backend);
            return Err(Error::Denied(format!("{} (see `{table}`)", self.denied.join("; "))));
        }
        if !self.unsupported.is_empty() {
            return Err(Error::Unsupported(self.unsupported.join("; ")));
        }
        Ok(())
    }
}

/// What a container is made within.
pub(crate) struct Context<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) grant: &'a DockerGrant,
    pub(crate) facts: &'a Facts,
}

/// The container in Docker's words, but for the stamp of its health, which the image decides.
///
/// `mounts` are the container's, resolved, and `refusals` what was found wrong with them.
pub(crate) fn build(
    container: &Container,
    context: &Context<'_>,
    mounts: Vec<Mount>,
    mut refusals: Refusals,
) -> Result<ContainerCreateBody, Error> {
    check_text(container, &mut refusals);
    let host = HostConfig { mounts: Some(mounts), ..host_config(container, context, &mut refusals) };
    let body = ContainerCreateBody {
        image: Some(container.image.clone()),
        entrypoint: container.entrypoint.clone(),
        cmd: (!container.command.is_empty()).then(|| container.command.clone()),
        env: environment(container, &mut refusals),
        labels: Some(labels(container, context.namespace, &mut refusals)),
        hostname: container.hostname.clone(),
        working_dir: container.working_dir.clone(),
        user: container.user.clone(),
        tty: Some(container.tty),
        open_stdin: Some(container.stdin),
        stdin_once: Some(false),
        attach_stdin: Some(false),
        stop_signal: container.stop_signal.map(|signal| signal.number().to_string()),
        stop_timeout: container.stop_grace.map(whole_seconds),
        exposed_ports: host.port_bindings.as_ref().map(|ports| ports.keys().cloned().collect()),
        healthcheck: health(&container.health_check, context.facts, &mut refusals),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    refusals.check(context.namespace)?;
    Ok(body)
}

/// Docker counts in whole seconds: rounded up, so that nobody gets less than was asked.
fn whole_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

/// Whether this image is a reference that can stand in a URL.
fn is_image(image: &str) -> bool {
    (1..=512).contains(&image.len())
        && image.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !image.contains("//")
        && !image.contains("..")
        && image.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'@'))
}

fn check_text(container: &Container, refusals: &mut Refusals) {
    if !is_image(&container.image) {
        refusals.invalid("image", "not the reference of an image, such as busybox:latest");
    }
    let words = container.command.iter().map(|word| ("command", word));
    let entry = container.entrypoint.iter().flatten().map(|word| ("options.entrypoint", word));
    if let Some((field, _)) = words.chain(entry).find(|(_, word)| word.contains('\0')) {
        refusals.invalid(field, "an argument cannot contain a NUL character");
    }
    for (field, value) in [("user", &container.user), ("hostname", &container.hostname)] {
        if value.as_ref().is_some_and(|value| value.is_empty() || value.len() > 255 || value.contains(char::is_control))
        {
            refusals.invalid(field, "1 to 255 bytes without control characters");
        }
    }
    // Linux has room for 64 bytes, and finds out only when the container is started.
    let label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if container.hostname.as_ref().is_some_and(|name| name.len() > 63 || !name.chars().all(label)) {
        refusals.invalid("hostname", "at most 63 characters of a-z A-Z 0-9 . -");
    }
    if container.working_dir.as_ref().is_some_and(|dir| !dir.starts_with('/') || dir.contains('\0') || dir.len() > 4096)
    {
        refusals.invalid("working_dir", "an absolute path in the container");
    }
}

/// `NAME=value`, each name once: a program would read the first of several, and the last is what was meant.
fn environment(container: &Container, refusals: &mut Refusals) -> Option<Vec<String>> {
    let mut places = HashMap::with_capacity(container.env.len());
    let mut env: Vec<String> = Vec::with_capacity(container.env.len());
    for (name, value) in &container.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.reveal().contains('\0') {
            let shown: String = name.chars().take(80).collect();
            refusals.invalid(format!("env.{}", shown.escape_debug()), "a name without `=`, and no NUL character");
            continue;
        }
        let entry = format!("{name}={}", value.reveal());
        let place = *places.entry(name.as_str()).or_insert(env.len());
        match env.get_mut(place) {
            Some(earlier) => *earlier = entry,
            None => env.push(entry),
        }
    }
    (!env.is_empty()).then_some(env)
}

fn labels(container: &Container, namespace: &Namespace, refusals: &mut Refusals) -> HashMap<String, String> {
    let mut labels = HashMap::with_capacity(container.labels.len() + 6);
    for (name, value) in &container.labels {
        if name.is_empty() || name.starts_with(PREFIX) || name.contains(char::is_control) {
            let shown: String = name.chars().take(80).collect();
            let message = "a name without control characters; `seawall.` belongs to the host";
            refusals.invalid(format!("labels.{}", shown.escape_debug()), message);
        }
        labels.insert(name.clone(), value.clone());
    }
    // Also over whatever the image says of itself.
    labels.insert(STORE.to_owned(), namespace.store.to_string());
    labels.insert(BACKEND.to_owned(), namespace.backend.to_string());
    labels.insert(SESSION.to_owned(), container.key.session.to_string());
    labels.insert(INCARNATION.to_owned(), container.key.incarnation.to_string());
    labels.insert(HEALTH.to_owned(), "0".to_owned());
    if let Some(name) = &container.name {
        if name.is_empty() || name.len() > 255 || name.contains(char::is_control) {
            refusals.invalid("name", "1 to 255 bytes without control characters");
        }
        labels.insert(NAME.to_owned(), name.clone());
    }
    labels
}

fn health(check: &HealthCheck, facts: &Facts, refusals: &mut Refusals) -> Option<HealthConfig> {
    let HealthCommand { command, interval, timeout, start_period, start_interval, retries } = match check {
        HealthCheck::Image => return None,
        HealthCheck::Disabled => {
            return Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() });
        }
        HealthCheck::Command(command) => command,
    };
    if command.is_empty() || command.iter().any(|word| word.contains('\0')) {
        refusals.invalid("health_check.command", "a program and its arguments");
    }
    for (field, time) in [("interval", interval), ("timeout", timeout)] {
        if *time < MIN_HEALTH {
            refusals.invalid(format!("health_check.{field}"), "at least 1ms");
        }
    }
    if start_interval.is_some_and(|time| time < MIN_HEALTH) {
        refusals.invalid("health_check.start_interval", "at least 1ms");
    }
    if start_interval.is_some() && !facts.start_interval {
        refusals.unsupported("health_check.start_interval", "this Engine knows it not: Docker has it from 25 on");
    }
    if *retries == 0 {
        refusals.invalid("health_check.retries", "at least 1");
    }
    let mut nanos = |field: &str, time: &Duration| {
        let nanos = i64::try_from(time.as_nanos()).ok();
        if nanos.is_none() {
            refusals.invalid(format!("health_check.{field}"), "at most 292 years");
        }
        nanos
    };
    Some(HealthConfig {
        interval: nanos("interval", interval),
        timeout: nanos("timeout", timeout),
        start_period: nanos("start_period", start_period),
        start_interval: start_interval.as_ref().and_then(|time| nanos("start_interval", time)),
        retries: Some(i64::from(*retries)),
        test: Some(std::iter::once("CMD".to_owned()).chain(command.iter().cloned()).collect()),
    })
}

fn host_config(container: &Container, context: &Context<'_>, refusals: &mut Refusals) -> HostConfig {
    let Context { grant, facts, .. } = context;
    let network = container.network.as_ref().unwrap_or(&Network::Internet);
    if *network == Network::Host {
        if !grant.host_network {
            refusals.denied("network", "the host's network is not granted: set `host-network = true`");
        }
        if container.hostname.is_some() {
            refusals.invalid("hostname", "a session on the host's network has the host's name");
        }
    }
    if container.privileged && !grant.privileged {
        refusals.denied("options.privileged", "not granted: set `privileged = true`");
    }
    let mut host = HostConfig {
        network_mode: Some(
            match network {
                Network::Internet => "bridge",
                Network::Isolated => "none",
                Network::Host => "host",
                Network::Named(_) => {
                    refusals.unsupported("network", "containers are on no named networks here");
                    "none"
                }
            }
            .to_owned(),
        ),
        port_bindings: ports(container, network, grant, refusals),
        init: Some(container.init),
        readonly_rootfs: Some(container.read_only_root),
        privileged: Some(container.privileged),
        cap_drop: Some(capabilities("options.drop_capabilities", &container.drop_capabilities, refusals)),
        cap_add: Some(capabilities("options.add_capabilities", &container.add_capabilities, refusals)),
        ulimits: Some(ulimits(container, grant, refusals)),
        log_config: Some(logs(container, refusals)),
        // Starting again is the host's: under this policy the Engine never does it by itself.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        ..HostConfig::default()
    };
    for added in host.cap_add.iter().flatten().filter(|added| !grant.capabilities.contains(added)) {
        let message = format!("{added} is not granted: add it to `capabilities`");
        refusals.denied("options.add_capabilities", &message);
    }
    limits(container, facts, &mut host, refusals);
    host
}

fn limits(container: &Container, facts: &Facts, host: &mut HostConfig, refusals: &mut Refusals) {
    if let Some(memory) = container.memory {
        match i64::try_from(memory) {
            Ok(bytes) if memory >= MIN_MEMORY => {
                host.memory = Some(bytes);
                // The same number is memory and swap together: no swap on top.
                host.memory_swap = facts.limits_swap.then_some(bytes);
            }
            _ => refusals.invalid("resources.memory", "at least 6MiB"),
        }
        if !facts.limits_memory {
            refusals.unsupported("resources.memory", "this Engine cannot limit memory (no cgroup for it)");
        }
    }
    let all = facts.cpus.saturating_mul(1000);
    if let Some(asked) = container.cpu_millis
        && asked > all
    {
        let message = format!("at most {}: the Docker Engine has no more processors", facts.cpus);
        refusals.invalid("resources.cpus", message);
    }
    if let Some(millis) = container.cpu_millis.or(container.default_cpu_millis.map(|millis| millis.min(all))) {
        if millis < MIN_CPU_MILLIS {
            refusals.invalid("resources.cpus", "at least 0.01");
        }
        if !facts.limits_cpus {
            refusals.unsupported("resources.cpus", "this Engine cannot limit processors (no cgroup for it)");
        }
        host.nano_cpus = Some(i64::from(millis) * 1_000_000);
    }
    if let Some(processes) = container.processes {
        if processes == 0 {
            refusals.invalid("resources.processes", "at least 1");
        }
        if !facts.limits_processes {
            refusals.unsupported("resources.processes", "this Engine cannot limit processes (no cgroup for it)");
        }
        host.pids_limit = Some(i64::from(processes));
    }
}

/// The names that Docker knows.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn ulimits(container: &Container, grant: &DockerGrant, refusals: &mut Refusals) -> Vec<ResourcesUlimits> {
    let ahead = grant.privileged || grant.capabilities.iter().any(|name| name == "SYS_NICE");
    let mut limits = Vec::with_capacity(container.ulimits.len());
    for (at, limit) in container.ulimits.iter().enumerate() {
        let field = format!("resources.ulimits[{at}]");
        if !ULIMITS.contains(&limit.name.as_str()) {
            refusals.invalid(format!("{field}.name"), format!("one of {}", ULIMITS.join(", ")));
        }
        if container.ulimits.iter().take(at).any(|earlier| earlier.name == limit.name) {
            refusals.invalid(format!("{field}.name"), "given twice");
        }
        if limit.soft > limit.hard {
            refusals.invalid(field.as_str(), "the soft limit is above the hard one");
        }
        // A limit of 20 is a niceness of 0. Beyond these it gets ahead of everybody else, whatever its share is.
        let most = match limit.name.as_str() {
            "rtprio" => 0,
            "nice" => 20,
            _ => u64::MAX,
        };
        if limit.hard > most && !ahead {
            let message = format!("{} above {most} is not granted: add SYS_NICE to `capabilities`", limit.name);
            refusals.denied(&field, &message);
        }
        // Beyond what Docker can write means no limit.
        let number = |value: u64| Some(i64::try_from(value).unwrap_or(-1));
        limits.push(ResourcesUlimits {
            name: Some(limit.name.clone()),
            soft: number(limit.soft),
            hard: number(limit.hard),
        });
    }
    limits
}

fn capabilities(field: &str, names: &[String], refusals: &mut Refusals) -> Vec<String> {
    let mut known = Vec::with_capacity(names.len());
    for name in names {
        match capability(name) {
            Some(name) => known.push(name),
            None => refusals.invalid(field, format!("{name:?} is no Linux capability such as NET_RAW")),
        }
    }
    known
}

fn ports(container: &Container, network: &Network, grant: &DockerGrant, refusals: &mut Refusals) -> Option<PortMap> {
    if container.ports.is_empty() {
        return None;
    }
    match network {
        Network::Internet | Network::Named(_) => {}
        Network::Isolated => refusals.invalid("ports", "a session without a network publishes nothing"),
        Network::Host => {
            refusals.invalid("ports", "a session on the host's network listens on the host's ports itself")
        }
    }
    let mut map = PortMap::new();
    for (at, port) in container.ports.iter().enumerate() {
        let address = port.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        if port.container == 0 || port.host == Some(0) {
            refusals.invalid(format!("ports[{at}]"), "a port from 1 to 65535");
        }
        if !address.is_loopback() && !grant.publish.contains(&address) {
            let message = format!("publishing on {address} is not granted: add it to `publish`");
            refusals.denied(&format!("ports[{at}].address"), &message);
        }
        let protocol = match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let binding = PortBinding {
            host_ip: Some(address.to_string()),
            // Empty: the Engine chooses one.
            host_port: Some(port.host.map(|port| port.to_string()).unwrap_or_default()),
        };
        map.entry(format!("{}/{protocol}", port.container)).or_default().get_or_insert_default().push(binding);
    }
    Some(map)
}

/// Docker's `local` driver: it rotates, and gives back the bytes as they were written. (`json-file` does not.)
fn logs(container: &Container, refusals: &mut Refusals) -> HostConfigLogConfig {
    let size = container.log_max_size.unwrap_or(LOG_SIZE);
    let files = container.log_max_files.unwrap_or(LOG_FILES);
    if size < MIN_LOG_SIZE || i64::try_from(size).is_err() {
        refusals.invalid("logs.max_size", "at least 4KiB");
    }
    if files == 0 || i32::try_from(files).is_err() {
        refusals.invalid("logs.max_files", "at least 1");
    }
    let mut config =
        HashMap::from([("max-size".to_owned(), size.to_string()), ("max-file".to_owned(), files.to_string())]);
    if files == 1 {
        // Only files that were rotated out are compressed, and Docker refuses to be asked for it where there are none.
        config.insert("compress".to_owned(), "false".to_owned());
    }
    HostConfigLogConfig { typ: Some("local".to_owned()), config: Some(config) }
}
