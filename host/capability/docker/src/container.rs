//! What a container is asked to be, and what an Engine says of itself: `wit/host/docker.wit` in Rust.
//!
//! This is the whole vocabulary. What cannot be said here cannot be had from Docker.

use std::time::Duration;

use seawall_model::{HealthCommand, Key, Mount, Network, Port, Secret, Signal, Ulimit};

/// Where a container's health comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HealthCheck {
    /// What the image says.
    #[default]
    Image,
    /// Nothing, whatever the image says: running is healthy.
    Disabled,
    /// A command in the container.
    Command(HealthCommand),
}

/// A container, as a plugin describes it. Each field is carried out or refused by name; the names are those of the
/// session spec, with `options.` before what only this backend has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Whose workload it is.
    pub key: Key,
    /// The user's name of the session, for people who look at the Engine.
    pub name: Option<String>,
    /// A reference such as `busybox:latest`, or an image id.
    pub image: String,
    /// `None`: the image's own.
    pub entrypoint: Option<Vec<String>>,
    /// Empty: the image's own.
    pub command: Vec<String>,
    /// Variables, in order; a later one of the same name wins.
    pub env: Vec<(String, Secret)>,
    /// Labels of the user; the prefix `seawall.` is refused.
    pub labels: Vec<(String, String)>,
    /// `None`: the Engine chooses.
    pub hostname: Option<String>,
    /// Absolute. `None`: the image's own.
    pub working_dir: Option<String>,
    /// `user`, `user:group`, names or numbers. `None`: the image's own.
    pub user: Option<String>,
    /// Directories and files of the host, volumes, memory.
    pub mounts: Vec<Mount>,
    /// Bytes, hard; swap is not given on top.
    pub memory: Option<u64>,
    /// Thousandths of a processor; at most what the Engine has.
    pub cpu_millis: Option<u32>,
    /// What it gets where [`cpu_millis`](Self::cpu_millis) is `None`, and all that the Engine has where that is less.
    pub default_cpu_millis: Option<u32>,
    /// Number of tasks.
    pub processes: Option<u32>,
    /// setrlimit(2) of the first process.
    pub ulimits: Vec<Ulimit>,
    /// Give it a terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub stdin: bool,
    /// A small init as process 1.
    pub init: bool,
    /// The root file system cannot be written.
    pub read_only_root: bool,
    /// Linux capabilities to drop, such as `NET_RAW` or `ALL`.
    pub drop_capabilities: Vec<String>,
    /// Each must be granted.
    pub add_capabilities: Vec<String>,
    /// Must be granted.
    pub privileged: bool,
    /// `None`: [`Network::Internet`], the Engine's default bridge.
    pub network: Option<Network>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// What `docker stop` begins with; the host sends its own.
    pub stop_signal: Option<Signal>,
    /// How long `docker stop` waits after that, in whole seconds, rounded up; the host counts by itself.
    pub stop_grace: Option<Duration>,
    /// Where its health comes from.
    pub health_check: HealthCheck,
    /// Bytes of one log file; `None`: 10 MiB.
    pub log_max_size: Option<u64>,
    /// Log files kept; `None`: 3.
    pub log_max_files: Option<u32>,
}

impl Container {
    /// A container of this image with nothing else set.
    pub fn new(key: Key, image: impl Into<String>) -> Self {
        Self {
            key,
            name: None,
            image: image.into(),
            entrypoint: None,
            command: Vec::new(),
            env: Vec::new(),
            labels: Vec::new(),
            hostname: None,
            working_dir: None,
            user: None,
            mounts: Vec::new(),
            memory: None,
            cpu_millis: None,
            default_cpu_millis: None,
            processes: None,
            ulimits: Vec::new(),
            tty: false,
            stdin: false,
            init: false,
            read_only_root: false,
            drop_capabilities: Vec::new(),
            add_capabilities: Vec::new(),
            privileged: false,
            network: None,
            ports: Vec::new(),
            stop_signal: None,
            stop_grace: None,
            health_check: HealthCheck::default(),
            log_max_size: None,
            log_max_files: None,
        }
    }
}

/// What an Engine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Engine {
    /// Its release, such as `20.10.24`.
    pub version: String,
    /// The API version that calls are made in.
    pub api_version: String,
    /// Facts worth showing, such as the cgroup version or the storage driver.
    pub attributes: Vec<(String, String)>,
    /// Processors of its machine.
    pub cpus: u32,
    /// Memory of its machine, in bytes.
    pub memory: u64,
}
