//! What a plugin says of a process: `record program` and `host-info` of `wit/host/process.wit`.

use seawall_model::{Key, Secret};

/// A process as a plugin asks for it. `wit/host/process.wit` says what each field means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Which incarnation of which session.
    pub key: Key,
    /// Program and arguments; at least one.
    pub command: Vec<String>,
    /// The whole environment, besides `PATH`, `HOME`, `USER` and `TERM` where these are not given, and what the grant
    /// adds.
    pub env: Vec<(String, Secret)>,
    /// Absolute, under a granted root. Absent: a fresh private directory.
    pub working_dir: Option<String>,
    /// A user name or number, and `:group`. Absent: the default user.
    pub user: Option<String>,
    /// Bytes, for the whole tree.
    pub memory: Option<u64>,
    /// Thousandths of a processor, for the whole tree.
    pub cpu_millis: Option<u32>,
    /// Number of tasks, for the whole tree.
    pub processes: Option<u32>,
    /// Limits of each process.
    pub rlimits: Vec<Rlimit>,
    /// Give it a terminal.
    pub tty: bool,
    /// Keep its standard input open.
    pub stdin: bool,
    /// Bytes of one log file; default 10 MiB.
    pub log_max_size: Option<u64>,
    /// Number of log files; default 3.
    pub log_max_files: Option<u32>,
}

impl Program {
    /// This command and nothing else set.
    pub fn new(key: Key, command: Vec<String>) -> Self {
        Self {
            key,
            command,
            env: Vec::new(),
            working_dir: None,
            user: None,
            memory: None,
            cpu_millis: None,
            processes: None,
            rlimits: Vec::new(),
            tty: false,
            stdin: false,
            log_max_size: None,
            log_max_files: None,
        }
    }
}

/// One limit, as in `ulimit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// `nofile`, `nproc`, `core`, ...
    pub name: String,
    /// Where the process meets it. `u64::MAX` is no limit.
    pub soft: u64,
    /// How far it may raise the soft one.
    pub hard: u64,
}

/// Facts about this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// Kernel and machine, for people.
    pub system: String,
    /// How limits are enforced: `cgroup2`, `cgroup1` or `none`.
    pub limits: String,
    /// The user that processes run as unless the program says otherwise.
    pub user: String,
    /// Facts worth showing.
    pub attributes: Vec<(String, String)>,
}
