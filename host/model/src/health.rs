//! How the health of a session is found out: Docker's health check, and Kubernetes' probes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Network, Protocol, Secret, SessionSpec};

/// How health is found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthCheck {
    /// Not at all, whatever the image says: running is healthy.
    Disabled,
    /// By a command in the session.
    Command(HealthCommand),
}

/// A command whose exit code is the health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HealthCommand {
    /// Program and arguments.
    #[cfg_attr(feature = "schema", schema(min_items = 1))]
    pub command: Vec<String>,
    /// Between two checks.
    #[serde(with = "humantime_serde", default = "thirty_seconds")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Span))]
    pub interval: Duration,
    /// A check that takes longer failed.
    #[serde(with = "humantime_serde", default = "thirty_seconds")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Span))]
    pub timeout: Duration,
    /// Failures this soon after the start do not count.
    #[serde(with = "humantime_serde", default)]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Span))]
    pub start_period: Duration,
    /// Between two checks until the start period is over or one has passed. Absent: what the engine does then, and
    /// [`interval`](Self::interval) where the host checks.
    #[serde(with = "humantime_serde::option", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Span>))]
    pub start_interval: Option<Duration>,
    /// This many failures in a row make it unhealthy.
    #[serde(default = "three")]
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub retries: u32,
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn three() -> u32 {
    3
}

fn one() -> u32 {
    1
}

/// What the host asks a session that runs, and what follows from the answers; as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// Until it has passed, the other two wait. If it fails, the session is started again by its restart policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
    /// Whether the session is ready for work. Nothing else follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// If it fails, the session is started again by its restart policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
}

impl Probes {
    /// There is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those that are there, by their names.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &Probe)> {
        let all = [("startup", &self.startup), ("readiness", &self.readiness), ("liveness", &self.liveness)];
        all.into_iter().filter_map(|(name, probe)| Some((name, probe.as_ref()?)))
    }

    pub(crate) fn secrets(&mut self) -> impl Iterator<Item = &mut Secret> {
        let all = [&mut self.startup, &mut self.readiness, &mut self.liveness];
        all.into_iter().flatten().flat_map(|probe| match &mut probe.check {
            ProbeCheck::Http(http) => Some(http.headers.values_mut()).into_iter().flatten(),
            ProbeCheck::Exec(_) | ProbeCheck::Tcp(_) => None.into_iter().flatten(),
        })
    }
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// What is asked.
    pub check: ProbeCheck,
    /// From the beginning of one to that of the next. Default 10 s.
    #[serde(with = "humantime_serde", default = "ten_seconds")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Span))]
    pub interval: Duration,
    /// An answer that takes longer is a failure. Default 1 s.
    #[serde(with = "humantime_serde", default = "one_second")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Span))]
    pub timeout: Duration,
    /// From the start of the session to the first. Default 0.
    #[serde(with = "humantime_serde", default, skip_serializing_if = "Duration::is_zero")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Span))]
    pub initial_delay: Duration,
    /// So many failures in a row are needed. Default 3.
    #[serde(default = "three")]
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub failure_threshold: u32,
    /// So many successes in a row are needed; more than 1 for readiness only. Default 1.
    #[serde(default = "one")]
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub success_threshold: u32,
}

impl Probe {
    /// A probe with this check and nothing else set.
    pub fn new(check: ProbeCheck) -> Self {
        Self {
            check,
            interval: ten_seconds(),
            timeout: one_second(),
            initial_delay: Duration::ZERO,
            failure_threshold: three(),
            success_threshold: one(),
        }
    }
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProbeCheck {
    /// A command in the session; 0 is success.
    Exec(ExecCheck),
    /// A request; an answer from 200 to 399 is success, and redirects are not followed.
    Http(HttpCheck),
    /// A connection; that it is accepted is success.
    Tcp(TcpCheck),
}

/// A command in the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExecCheck {
    /// Program and arguments.
    #[cfg_attr(feature = "schema", schema(min_items = 1))]
    pub command: Vec<String>,
}

/// A request to a port of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// What the session listens on.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 65535))]
    pub port: u16,
    /// Path and query. Default `/`.
    #[serde(default = "root")]
    pub path: String,
    /// Headers of the request; their values are not shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
}

fn root() -> String {
    "/".to_owned()
}

/// A connection to a port of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// What the session listens on.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 65535))]
    pub port: u16,
}

/// Anything shorter would keep host and session busy.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const MOST_HEADERS: usize = 32;

/// Takes the path of a field that cannot be as it is, and what it must be.
type Refuse<'a> = &'a mut dyn FnMut(String, &str);

/// Checks everything about the health of a session that its types cannot say.
pub(crate) fn check(spec: &SessionSpec, refuse: Refuse<'_>) {
    if let Some(HealthCheck::Command(check)) = &spec.health_check {
        program("health_check.command", &check.command, refuse);
        times("health_check", check.interval, check.timeout, refuse);
        if check.start_period > LONGEST {
            refuse("health_check.start_period".to_owned(), "at most 1 day");
        }
        if check.start_interval.is_some_and(|interval| !(SHORTEST_INTERVAL..=LONGEST).contains(&interval)) {
            refuse("health_check.start_interval".to_owned(), "between 100ms and 1 day");
        }
        if check.retries == 0 {
            refuse("health_check.retries".to_owned(), "at least 1");
        }
    }
    if spec.restart_unhealthy && spec.health_check == Some(HealthCheck::Disabled) {
        refuse("restart_unhealthy".to_owned(), "there is no health check to go by: it is disabled");
    }
    for (name, probe) in spec.probes.named() {
        let field = format!("probes.{name}");
        times(&field, probe.interval, probe.timeout, refuse);
        if probe.initial_delay > LONGEST {
            refuse(format!("{field}.initial_delay"), "at most 1 day");
        }
        if probe.failure_threshold == 0 {
            refuse(format!("{field}.failure_threshold"), "at least 1");
        }
        if probe.success_threshold == 0 {
            refuse(format!("{field}.success_threshold"), "at least 1");
        }
        if probe.success_threshold > 1 && name != "readiness" {
            refuse(format!("{field}.success_threshold"), "1: only readiness may need more successes");
        }
        match &probe.check {
            ProbeCheck::Exec(exec) => program(&format!("{field}.check.exec.command"), &exec.command, refuse),
            ProbeCheck::Http(http) => {
                let field = format!("{field}.check.http");
                port(spec, &field, http.port, refuse);
                request(&field, http, refuse);
            }
            ProbeCheck::Tcp(tcp) => port(spec, &format!("{field}.check.tcp"), tcp.port, refuse),
        }
    }
}

fn program(field: &str, command: &[String], refuse: Refuse<'_>) {
    if command.first().is_none_or(String::is_empty) {
        refuse(field.to_owned(), "a program and its arguments");
    }
    if command.iter().any(|argument| argument.contains('\0')) {
        refuse(field.to_owned(), "an argument cannot contain a NUL character");
    }
}

fn times(field: &str, interval: Duration, timeout: Duration, refuse: Refuse<'_>) {
    if !(SHORTEST_INTERVAL..=LONGEST).contains(&interval) {
        refuse(format!("{field}.interval"), "between 100ms and 1 day");
    }
    if !(SHORTEST_TIMEOUT..=LONGEST).contains(&timeout) {
        refuse(format!("{field}.timeout"), "between 1ms and 1 day");
    }
}

fn request(field: &str, http: &HttpCheck, refuse: Refuse<'_>) {
    let plain = |c: char| c.is_ascii_graphic() && c != '#';
    if !http.path.starts_with('/') || http.path.len() > 2048 || !http.path.chars().all(plain) {
        refuse(
            format!("{field}.path"),
            "begins with / and has at most 2048 visible ASCII characters, escaped as in a URL",
        );
    }
    if http.headers.len() > MOST_HEADERS {
        refuse(format!("{field}.headers"), "at most 32 headers");
    }
    for (name, value) in &http.headers {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let shown: String = name.chars().take(80).collect();
        if name.is_empty() || name.len() > 128 || !name.chars().all(token) {
            refuse(format!("{field}.headers.{}", shown.escape_debug()), "this cannot be the name of a header");
        }
        if value.reveal().len() > 4096 || !value.reveal().chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
            refuse(format!("{field}.headers.{}", shown.escape_debug()), "at most 4096 visible ASCII characters");
        }
    }
}

fn port(spec: &SessionSpec, field: &str, port: u16, refuse: Refuse<'_>) {
    let field = format!("{field}.port");
    if port == 0 {
        refuse(field, "a port from 1 to 65535");
    } else if let Err(message) = address(spec, port) {
        refuse(field, message);
    }
}

/// Where the host reaches a TCP port of a session: one that is made of an image has a network of its own, and is reached
/// by what it publishes; every other is on the host's network.
///
/// # Errors
/// The host cannot reach it, and what to do about that.
pub fn address(spec: &SessionSpec, port: u16) -> Result<std::net::SocketAddr, &'static str> {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if spec.image.is_none() || spec.network == Some(Network::Host) {
        return Ok(SocketAddr::new(LOOPBACK, port));
    }
    let theirs = |published: &&crate::Port| published.container == port && published.protocol == Protocol::Tcp;
    let published = spec.ports.iter().find(theirs);
    let published =
        published.ok_or("publish this port, in `ports`: the host reaches no other of a session with an image")?;
    let host = published.host.filter(|host| *host != 0);
    let host = host.ok_or("name the host's port in `ports`: one that the engine chooses is not known")?;
    let address = match published.address {
        None => LOOPBACK,
        Some(IpAddr::V4(any)) if any.is_unspecified() => LOOPBACK,
        Some(IpAddr::V6(any)) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        Some(address) => address,
    };
    Ok(SocketAddr::new(address, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> SessionSpec {
        serde_json::from_value(json).unwrap()
    }

    fn refused(spec: &SessionSpec) -> Vec<String> {
        let problems = spec.validate().err().map(|invalid| invalid.problems).unwrap_or_default();
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn a_probe_has_the_defaults_of_kubernetes() {
        let spec = spec(serde_json::json!({
            "backend": "process",
            "probes": {"liveness": {"check": {"http": {"port": 8080}}}},
        }));
        assert_eq!(refused(&spec), [""; 0]);
        let probe = spec.probes.liveness.clone().unwrap();
        let (ten, one) = (Duration::from_secs(10), Duration::from_secs(1));
        assert_eq!((probe.interval, probe.timeout, probe.initial_delay), (ten, one, Duration::ZERO));
        assert_eq!((probe.failure_threshold, probe.success_threshold), (3, 1));
        assert_eq!(probe, Probe::new(probe.check.clone()));
        let read: SessionSpec = serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
        assert_eq!(read, spec);
    }

    #[test]
    fn every_mistake_about_health_is_named_at_once() {
        let spec = spec(serde_json::json!({
            "backend": "process",
            "restart_unhealthy": true,
            "health_check": {"command": {
                "command": [], "interval": "1ms", "timeout": "0s", "start_period": "2days", "start_interval": "1ms",
                "retries": 0,
            }},
            "probes": {
                "startup": {"check": {"exec": {"command": [""]}}, "success_threshold": 2, "failure_threshold": 0},
                "readiness": {"check": {"tcp": {"port": 0}}, "success_threshold": 2, "initial_delay": "2days"},
                "liveness": {
                    "check": {"http": {"port": 1, "path": "x y", "headers": {"a b": "c", "d": "e\nf"}}},
                    "interval": "2days", "timeout": "2days", "success_threshold": 0,
                },
            },
        }));
        assert_eq!(
            refused(&spec),
            [
                "health_check.command",
                "health_check.interval",
                "health_check.timeout",
                "health_check.start_period",
                "health_check.start_interval",
                "health_check.retries",
                "probes.startup.failure_threshold",
                "probes.startup.success_threshold",
                "probes.startup.check.exec.command",
                "probes.readiness.initial_delay",
                "probes.readiness.check.tcp.port",
                "probes.liveness.interval",
                "probes.liveness.timeout",
                "probes.liveness.success_threshold",
                "probes.liveness.check.http.path",
                "probes.liveness.check.http.headers.a b",
                "probes.liveness.check.http.headers.d",
            ]
        );
    }

    #[test]
    fn a_port_is_reached_where_it_is_published() {
        let reached = |ports: serde_json::Value| {
            let json = serde_json::json!({"backend": "docker", "image": "web", "ports": ports});
            address(&spec(json), 80).map(|address| address.to_string())
        };
        let published = |json| reached(serde_json::json!([{"container": 81, "host": 1}, json]));
        assert_eq!(published(serde_json::json!({"container": 80, "host": 8080})).unwrap(), "127.0.0.1:8080");
        let every = serde_json::json!({"container": 80, "host": 8080, "address": "0.0.0.0"});
        assert_eq!(published(every).unwrap(), "127.0.0.1:8080");
        let other = serde_json::json!({"container": 80, "host": 8080, "address": "10.0.0.1"});
        assert_eq!(published(other).unwrap(), "10.0.0.1:8080");
        assert!(published(serde_json::json!({"container": 80})).unwrap_err().contains("name the host's port"));
        let udp = serde_json::json!({"container": 80, "host": 8080, "protocol": "udp"});
        assert!(published(udp).unwrap_err().contains("publish this port"));
        let json = serde_json::json!({
            "backend": "docker", "image": "web", "probes": {"readiness": {"check": {"tcp": {"port": 80}}}},
        });
        assert_eq!(refused(&spec(json)), ["probes.readiness.check.tcp.port"]);

        assert_eq!(address(&SessionSpec::new("process".parse().unwrap()), 80).unwrap().to_string(), "127.0.0.1:80");
        let host = serde_json::json!({"backend": "docker", "image": "web", "network": "host"});
        assert_eq!(address(&spec(host), 80).unwrap().to_string(), "127.0.0.1:80");
    }

    #[test]
    fn headers_are_secrets() {
        let spec = spec(serde_json::json!({
            "backend": "mock",
            "probes": {"readiness": {"check": {"http": {"port": 1, "headers": {"Authorization": "hunter2"}}}}},
        }));
        assert!(serde_json::to_string(&spec).unwrap().contains("hunter2"));
        assert!(!serde_json::to_string(&spec.redacted()).unwrap().contains("hunter2"));
        assert!(!format!("{spec:?}").contains("hunter2"));
    }
}
