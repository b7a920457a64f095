//! What a session is asked to be. The same words as `record spec` in `wit/backend/types.wit`, and what only the host
//! cares for: restart policy and grace.
//!
//! Every field is carried out by the backend or refused by name (A5).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    BackendName, Cpus, HealthCheck, Probes, RestartBackoff, RestartBudget, RestartPolicy, Secret, SessionName, Signal,
    Size, health, restart,
};

/// What a session is asked to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SessionSpec {
    /// Which backend runs it.
    pub backend: BackendName,
    /// Absent: the host makes one of the session's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SessionName>,
    /// For finding it again. At most 64; `seawall.` belongs to the host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it is made of, where the backend has images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Program and arguments; empty means what the image says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The environment; values are not shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret>,
    /// Variables whose values are files of the host, by their absolute paths: read at every start, and kept nowhere. Only in
    /// directories that the daemon's configuration names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env_from: BTreeMap<String, String>,
    /// Absolute path in the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// A user name or number, and `:group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it believes the machine is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Files and directories of the host, volumes, memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Limits.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Absent: what the backend gives by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Ports published on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Give it a terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tty: bool,
    /// Keep its standard input open.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stdin: bool,
    /// A small init as the first process.
    #[serde(default, skip_serializing_if = "is_false")]
    pub init: bool,
    /// What a polite stop begins with. Absent: SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<Signal>,
    /// How long after the stop signal it is killed. Absent: 10 s.
    #[serde(default, with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Span>))]
    pub stop_grace: Option<Duration>,
    /// What happens when it ends by itself.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How long it waits before that. What is absent is the daemon's own, `[control]`.
    #[serde(default, skip_serializing_if = "RestartBackoff::is_empty")]
    pub restart_backoff: RestartBackoff,
    /// How often that may happen. Absent: as often as the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_budget: Option<RestartBudget>,
    /// It is removed, workload and record, once it has run and is over for good. Default no.
    #[serde(default, skip_serializing_if = "is_false")]
    pub auto_remove: bool,
    /// How its health is found out. Absent: what the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// A health check that fails starts it again by its restart policy, as a liveness probe does. In Docker, and here
    /// unless it is asked for, nothing follows from health.
    #[serde(default, skip_serializing_if = "is_false")]
    pub restart_unhealthy: bool,
    /// What the host asks it while it runs.
    #[serde(default, skip_serializing_if = "Probes::is_empty")]
    pub probes: Probes,
    /// Bounds on its log.
    #[serde(default, skip_serializing_if = "LogLimits::is_empty")]
    pub logs: LogLimits,
    /// Fields of the backend's own, checked against its schema.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = std::collections::BTreeMap<String, serde_json::Value>))]
    pub options: serde_json::Map<String, serde_json::Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl SessionSpec {
    /// The default of [`stop_grace`](Self::stop_grace), as in Docker.
    pub const STOP_GRACE: Duration = Duration::from_secs(10);

    /// A session with this backend and nothing else set.
    pub fn new(backend: BackendName) -> Self {
        Self {
            backend,
            name: None,
            labels: BTreeMap::new(),
            image: None,
            command: Vec::new(),
            env: BTreeMap::new(),
            env_from: BTreeMap::new(),
            working_dir: None,
            user: None,
            hostname: None,
            mounts: Vec::new(),
            resources: Resources::default(),
            network: None,
            ports: Vec::new(),
            tty: false,
            stdin: false,
            init: false,
            stop_signal: None,
            stop_grace: None,
            restart: RestartPolicy::default(),
            restart_backoff: RestartBackoff::default(),
            restart_budget: None,
            auto_remove: false,
            health_check: None,
            restart_unhealthy: false,
            probes: Probes::default(),
            logs: LogLimits::default(),
            options: serde_json::Map::new(),
        }
    }

    /// The same, with every secret replaced by [`Secret::REDACTED`] (A9).
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut shown = self.clone();
        for value in shown.env.values_mut().chain(shown.probes.secrets()) {
            *value = Secret::new(Secret::REDACTED);
        }
        shown
    }

    /// Checks what types cannot say. Every problem is found, not only the first; 64 of them are told.
    ///
    /// # Errors
    /// A list of fields that cannot be as they are.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let mut problems = Vec::new();
        let mut refuse = |field: String, message: &str| problems.push(Problem { field, message: message.to_owned() });

        let named = |of: &str, name: &str| format!("{of}.{}", name.chars().take(80).collect::<String>().escape_debug());
        for (name, value) in &self.env {
            if !is_env_name(name) {
                let message = "a variable name has letters, digits and _ and does not begin with a digit";
                refuse(named("env", name), message);
            }
            if value.reveal().contains('\0') {
                refuse(named("env", name), "a value cannot contain a NUL character");
            }
        }
        for (name, path) in &self.env_from {
            let field = || named("env_from", name);
            if !is_env_name(name) {
                refuse(field(), "a variable name has letters, digits and _ and does not begin with a digit");
            } else if self.env.contains_key(name) {
                refuse(field(), "it has a value in `env` as well");
            }
            if !is_absolute(path) {
                refuse(field(), "the absolute path of a file of the host");
            }
        }
        if self.env_from.len() > MAX_FILES {
            refuse("env_from".to_owned(), "at most 64 files");
        }
        if self.labels.len() > MAX_LABELS {
            refuse("labels".to_owned(), "at most 64 labels");
        }
        for (key, value) in &self.labels {
            let field = || named("labels", key);
            if key.starts_with("seawall.") {
                refuse(field(), "labels that begin with `seawall.` belong to the host");
            } else if key.is_empty() || key.len() > 128 || key.contains(|c: char| c.is_control() || c == '=') {
                refuse(field(), "a label's key has 1 to 128 characters, none of them `=` or a control character");
            }
            if value.len() > 4096 || value.contains('\0') {
                refuse(field(), "a label's value has at most 4096 bytes and no NUL character");
            }
        }
        for (at, argument) in self.command.iter().enumerate() {
            if argument.contains('\0') {
                refuse(format!("command[{at}]"), "an argument cannot contain a NUL character");
            }
        }
        if self.command.first().is_some_and(String::is_empty) {
            refuse("command[0]".to_owned(), "the program's name is empty");
        }
        for (field, value) in [("image", &self.image), ("user", &self.user), ("hostname", &self.hostname)] {
            if value.as_ref().is_some_and(|v| v.is_empty() || v.len() > 512 || v.contains(char::is_control)) {
                refuse(field.to_owned(), "1 to 512 bytes without control characters");
            }
        }
        if self.working_dir.as_ref().is_some_and(|dir| !is_absolute(dir)) {
            refuse("working_dir".to_owned(), "an absolute path");
        }
        for (at, mount) in self.mounts.iter().enumerate() {
            if !is_absolute(&mount.target) || mount.target == "/" {
                refuse(format!("mounts[{at}].target"), "an absolute path other than /");
            }
            if let MountSource::Bind(path) = &mount.source
                && !is_absolute(path)
            {
                refuse(format!("mounts[{at}].source"), "an absolute path of the host");
            }
        }
        if let Some(Network::Named(attachments)) = &self.network {
            networks(attachments, &mut refuse);
        }
        if self.resources.memory.is_some_and(|memory| memory.0 < MIN_MEMORY) {
            refuse("resources.memory".to_owned(), "at least 6MiB, or nothing could start");
        }
        if self.resources.processes == Some(0) {
            refuse("resources.processes".to_owned(), "at least 1");
        }
        for (at, limit) in self.resources.ulimits.iter().enumerate() {
            if limit.soft > limit.hard {
                refuse(format!("resources.ulimits[{at}]"), "the soft limit is above the hard one");
            }
        }
        for (at, port) in self.ports.iter().enumerate() {
            if port.container == 0 {
                refuse(format!("ports[{at}].container"), "a port from 1 to 65535");
            }
        }
        restart::check(self, &mut refuse);
        health::check(self, &mut refuse);
        if self.stop_grace.is_some_and(|grace| grace > MAX_GRACE) {
            refuse("stop_grace".to_owned(), "at most 1 h");
        }
        if serde_json::to_string(self).map_or(true, |text| text.len() > MAX_SPEC) {
            refuse("spec".to_owned(), "at most 256 KiB in all");
        }
        problems.truncate(MAX_PROBLEMS);
        if problems.is_empty() { Ok(()) } else { Err(InvalidSpec { problems }) }
    }
}

/// A megabyte of mistakes must not become an answer of ten.
const MAX_PROBLEMS: usize = 64;
const MAX_LABELS: usize = 64;
const MAX_FILES: usize = 64;
/// Docker's own lower bound.
const MIN_MEMORY: u64 = 6 << 20;
const MAX_GRACE: Duration = Duration::from_secs(3600);
const MAX_SPEC: usize = 256 << 10;

impl Attachment {
    /// Whether a network, or a session on it, may be called so.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        (1..=128).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    }
}

fn networks(attachments: &[Attachment], refuse: &mut impl FnMut(String, &str)) {
    if attachments.is_empty() {
        refuse("network.named".to_owned(), "at least one network; `isolated` is what reaches nothing");
    }
    for (at, attachment) in attachments.iter().enumerate() {
        let field = |part: &str| format!("network.named[{at}].{part}");
        if !Attachment::is_name(&attachment.name) {
            refuse(field("name"), "1 to 128 characters of a-z A-Z 0-9 _ . -, the first a letter or a digit");
        }
        if attachments.iter().take(at).any(|earlier| earlier.name == attachment.name) {
            refuse(field("name"), "given twice");
        }
        if attachment.aliases.iter().any(|alias| !Attachment::is_name(alias)) {
            refuse(field("aliases"), "names of 1 to 128 characters of a-z A-Z 0-9 _ . -");
        }
    }
}

fn is_env_name(name: &str) -> bool {
    name.len() <= 256
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 4096 && !path.contains('\0')
}

/// One field that cannot be as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = FieldProblem))]
pub struct Problem {
    /// Path in the spec: `resources.memory`.
    pub field: String,
    /// What it must be.
    pub message: String,
}

/// A spec that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidSpec {
    /// Each field at fault; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for InvalidSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", problem.field, problem.message)?;
        }
        Ok(())
    }
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// An absolute path of the host.
    Bind(String),
    /// A volume by name.
    Volume(String),
    /// Memory; the size is the most it may take.
    Tmpfs(Option<Size>),
}

/// Something of the host's, or memory, in the session's file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, from = "MountAsWritten")]
pub struct Mount {
    /// Where it comes from.
    pub source: MountSource,
    /// Absolute path in the session.
    #[cfg_attr(feature = "schema", schema(max_length = 4096, pattern = "^/[^\\x00]+$"))]
    pub target: String,
    /// Absent: it is, but for memory, which would be of no use.
    #[cfg_attr(feature = "schema", schema(required = false))]
    pub read_only: bool,
    /// What the backend knows of mounts besides.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = std::collections::BTreeMap<String, serde_json::Value>, required = false))]
    pub options: serde_json::Map<String, serde_json::Value>,
}

impl Mount {
    /// A mount with no options of the backend's own.
    pub fn new(source: MountSource, target: impl Into<String>, read_only: bool) -> Self {
        Self { source, target: target.into(), read_only, options: serde_json::Map::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MountAsWritten {
    source: MountSource,
    target: String,
    read_only: Option<bool>,
    #[serde(default)]
    options: serde_json::Map<String, serde_json::Value>,
}

impl From<MountAsWritten> for Mount {
    fn from(written: MountAsWritten) -> Self {
        let MountAsWritten { source, target, read_only, options } = written;
        let read_only = read_only.unwrap_or(!matches!(source, MountSource::Tmpfs(_)));
        Self { source, target, read_only, options }
    }
}

/// Limits over the whole session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Hard limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub processes: Option<u32>,
    /// setrlimit(2) of the first process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<Ulimit>,
}

impl Resources {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One limit of setrlimit(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    /// `nofile`, `nproc`, `core`, ...
    pub name: String,
    /// Where it warns.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Amount))]
    pub soft: u64,
    /// How far the process may raise it.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Amount))]
    pub hard: u64,
}

/// A network that has a name, and how the session is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The network's name.
    pub name: String,
    /// Other names by which sessions on this network find this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What the backend knows of attachments besides.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = std::collections::BTreeMap<String, serde_json::Value>))]
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// What the session's network reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// What the host reaches.
    Internet,
    /// Nothing.
    Isolated,
    /// It is the host's own.
    Host,
    /// What is on these networks; at least one.
    Named(Vec<Attachment>),
}

/// Of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the session published on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// What the session listens on.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 65535))]
    pub container: u16,
    /// Absent: any free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(maximum = 65535))]
    pub host: Option<u16>,
    /// Absent: loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Address>))]
    pub address: Option<std::net::IpAddr>,
    /// Absent: TCP.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Bounds on a session's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LogLimits {
    /// Of one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Size>,
    /// How many files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub max_files: Option<u32>,
}

impl LogLimits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> SessionSpec {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_megabyte_of_mistakes_gives_a_small_message() {
        let mut spec = SessionSpec::new("docker".parse().unwrap());
        spec.env.insert("x".repeat(1 << 20), Secret::new("\0"));
        let problems = spec.validate().unwrap_err().problems;
        assert!(problems.iter().all(|problem| problem.field.len() < 100), "{problems:?}");

        spec.command = vec!["\0".to_owned(); 100_000];
        assert_eq!(spec.validate().unwrap_err().problems.len(), MAX_PROBLEMS);
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let spec = spec(serde_json::json!({
            "backend": "process",
            "command": [""],
            "env": {"1BAD": "x", "GOOD": "y"},
            "labels": {"seawall.session": "forged"},
            "working_dir": "relative",
            "resources": {"memory": "1k"},
        }));
        let problems = spec.validate().unwrap_err().problems;
        let fields: Vec<_> = problems.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(fields, ["env.1BAD", "labels.seawall.session", "command[0]", "working_dir", "resources.memory"]);
    }

    #[test]
    fn a_variable_from_a_file_has_a_name_one_value_and_an_absolute_path() {
        let spec = spec(serde_json::json!({
            "backend": "mock", "env": {"TWICE": "x"},
            "env_from": {"1BAD": "/run/a", "GOOD": "/run/b", "HERE": "secret", "TWICE": "/run/c"},
        }));
        let problems = spec.validate().unwrap_err().problems;
        let fields: Vec<_> = problems.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(fields, ["env_from.1BAD", "env_from.HERE", "env_from.TWICE"]);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let json = serde_json::json!({"backend": "mock", "comand": ["x"]});
        let error = serde_json::from_value::<SessionSpec>(json).unwrap_err();
        assert!(error.to_string().contains("comand"), "{error}");
    }

    #[test]
    fn secrets_are_kept_and_not_shown() {
        let spec = spec(serde_json::json!({"backend": "mock", "env": {"TOKEN": "hunter2"}}));
        assert!(serde_json::to_string(&spec).unwrap().contains("hunter2"));
        assert!(!format!("{spec:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&spec.redacted()).unwrap().contains("hunter2"));
    }

    #[test]
    fn what_a_mount_does_not_say_is_what_is_of_use() {
        let mount = |json| serde_json::from_value::<Mount>(json).map(|mount| mount.read_only);
        for (source, read_only) in [
            (serde_json::json!({"bind": "/srv"}), true),
            (serde_json::json!({"volume": "cache"}), true),
            (serde_json::json!({"tmpfs": "1MiB"}), false),
            (serde_json::json!({"tmpfs": null}), false),
        ] {
            assert_eq!(mount(serde_json::json!({"source": source, "target": "/t"})).unwrap(), read_only, "{source}");
            let other = serde_json::json!({"source": source, "target": "/t", "read_only": !read_only});
            assert_eq!(mount(other).unwrap(), !read_only, "{source}");
        }
        let unknown = serde_json::json!({"source": {"tmpfs": null}, "target": "/t", "readonly": true});
        assert!(mount(unknown).unwrap_err().to_string().contains("readonly"));
    }

    #[test]
    fn a_named_network_has_a_name_and_each_once() {
        let fields = |named: serde_json::Value| {
            let spec = spec(serde_json::json!({"backend": "docker", "network": {"named": named}}));
            let problems = spec.validate().err().map(|invalid| invalid.problems).unwrap_or_default();
            problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(serde_json::json!([{"name": "back", "aliases": ["db"]}, {"name": "front"}])), [""; 0]);
        assert_eq!(fields(serde_json::json!([])), ["network.named"]);
        assert_eq!(
            fields(serde_json::json!([{"name": "a"}, {"name": "../x"}, {"name": "a", "aliases": [""]}])),
            ["network.named[1].name", "network.named[2].name", "network.named[2].aliases"]
        );
    }
}
