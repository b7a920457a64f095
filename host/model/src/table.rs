//! Every field of a session's spec, of a probe and of a grant, once, as data: what `wit/backend`, the README and the tests
//! that walk it go by.
//!
//! Fields are paths as in a refusal: `[]` stands for each item of a list, the last part of `network.host` for a value.

use Carried::{Host, Out, Pretended, Refused};

/// What a backend does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// It carries the field out; the text says where that can be seen.
    Out(&'static str),
    /// The host carries it out, whatever the backend is.
    Host,
    /// It takes the field and only pretends, as it does with all else.
    Pretended,
    /// It refuses the field, by this name.
    Refused,
}

/// One field of a session's spec.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its path.
    pub path: &'static str,
    /// Type, unit and bounds.
    pub value: &'static str,
    /// What is so where it is absent.
    pub default: &'static str,
    /// What `docker` does with it; the text is where `docker inspect` shows it.
    pub docker: Carried,
    /// What `process` does with it; the text is where the process table shows it.
    pub process: Carried,
    /// What `mock` does with it.
    pub mock: Carried,
}

const fn field(
    path: &'static str,
    value: &'static str,
    default: &'static str,
    docker: Carried,
    process: Carried,
    mock: Carried,
) -> Field {
    Field { path, value, default, docker, process, mock }
}

const fn host(path: &'static str, value: &'static str, default: &'static str) -> Field {
    field(path, value, default, Host, Host, Host)
}

/// Of a session's spec, in its order. Each is carried out or refused by name; none is taken and ignored.
pub const SPEC: &[Field] = &[
    host("backend", "name of a backend", "must be given"),
    field("name", "2 to 63 of a-z A-Z 0-9 _ . -", "made of the id", Out("Config.Labels seawall.name"), Host, Host),
    field("labels", "up to 64 texts by name; not `seawall.`", "none", Out("Config.Labels"), Host, Host),
    field("image", "reference", "docker: must be given", Out("Config.Image"), Refused, Refused),
    field("command", "texts", "docker: the image's", Out("Config.Cmd"), Out("cmdline"), Pretended),
    field("env", "secret texts by name", "none", Out("Config.Env"), Out("environ"), Pretended),
    field(
        "env_from",
        "absolute paths of files of the host, by name; in directories of `[control] env-files`",
        "none",
        Out("Config.Env"),
        Out("environ"),
        Pretended,
    ),
    field(
        "working_dir",
        "absolute path",
        "docker: the image's; process: a fresh directory",
        Out("Config.WorkingDir"),
        Out("cwd"),
        Pretended,
    ),
    field(
        "user",
        "name or number, and `:group`",
        "docker: the image's; process: as granted",
        Out("Config.User"),
        Out("status Uid"),
        Pretended,
    ),
    field("hostname", "1 to 63 of a-z A-Z 0-9 . -", "the engine's choice", Out("Config.Hostname"), Refused, Refused),
    field(
        "mounts[].source.bind",
        "absolute path of the host; granted",
        "",
        Out("HostConfig.Mounts Source"),
        Refused,
        Refused,
    ),
    field("mounts[].source.volume", "name; granted", "", Out("HostConfig.Mounts Source"), Refused, Refused),
    field(
        "mounts[].source.tmpfs",
        "bytes",
        "no limit",
        Out("HostConfig.Mounts TmpfsOptions.SizeBytes"),
        Refused,
        Refused,
    ),
    field(
        "mounts[].target",
        "absolute path, not `/`",
        "must be given",
        Out("HostConfig.Mounts Target"),
        Refused,
        Refused,
    ),
    field("mounts[].read_only", "yes or no", "yes; no for tmpfs", Out("HostConfig.Mounts ReadOnly"), Refused, Refused),
    field("mounts[].options", "of the backend's own", "none", Refused, Refused, Refused),
    field(
        "resources.memory",
        "bytes, from 6 MiB; no swap besides, where the engine counts it",
        "docker: 2 GiB; process: no limit",
        Out("HostConfig.Memory"),
        Out("cgroup memory"),
        Refused,
    ),
    field(
        "resources.cpus",
        "processors, in thousandths",
        "docker: 2; process: no limit",
        Out("HostConfig.NanoCpus"),
        Out("cgroup cpu"),
        Refused,
    ),
    field("resources.processes", "tasks, from 1", "no limit", Out("HostConfig.PidsLimit"), Out("cgroup pids"), Refused),
    field(
        "resources.ulimits[]",
        "name, soft, hard, as in setrlimit(2)",
        "none",
        Out("HostConfig.Ulimits"),
        Out("limits"),
        Refused,
    ),
    field("network.internet", "word", "docker: this", Out("HostConfig.NetworkMode bridge"), Refused, Refused),
    field("network.isolated", "word", "", Out("HostConfig.NetworkMode none"), Refused, Refused),
    field("network.host", "word; granted", "process: this", Out("HostConfig.NetworkMode host"), Refused, Refused),
    field("network.named", "networks: name, aliases, options", "", Refused, Refused, Refused),
    field("ports[].container", "1 to 65535", "must be given", Out("HostConfig.PortBindings"), Refused, Refused),
    field("ports[].host", "1 to 65535", "any free one", Out("HostConfig.PortBindings HostPort"), Refused, Refused),
    field(
        "ports[].address",
        "IP address; beyond loopback granted",
        "127.0.0.1",
        Out("HostConfig.PortBindings HostIp"),
        Refused,
        Refused,
    ),
    field("ports[].protocol", "tcp or udp", "tcp", Out("HostConfig.PortBindings"), Refused, Refused),
    field("tty", "yes or no", "no", Out("Config.Tty"), Out("fd/1"), Refused),
    field("stdin", "yes or no", "no", Out("Config.OpenStdin"), Out("fd/0"), Refused),
    field("init", "yes or no", "no; process: always so", Out("HostConfig.Init"), Out("its parent"), Refused),
    field("stop_signal", "name or number, 1 to 64; process: to 31", "TERM", Out("Config.StopSignal"), Host, Host),
    field("stop_grace", "time, up to 1 h", "10 s", Out("Config.StopTimeout, whole seconds"), Host, Host),
    host("restart", "never, on-failure, on-failure:N, always", "never"),
    host("restart_backoff.first", "time, 10 ms to 1 d", "`[control.restart]`: 1 s"),
    host("restart_backoff.most", "time, 10 ms to 1 d", "`[control.restart]`: 5 min"),
    host("restart_backoff.reset", "time, up to 1 d", "`[control] healthy-uptime`: 10 s"),
    host("restart_budget.restarts", "1 to 100", "no budget"),
    host("restart_budget.within", "time, 1 s to 30 d", "must be given"),
    host("auto_remove", "yes or no; removed once it has run and is over for good", "no"),
    field("health_check.disabled", "word", "docker: the image's check", Out("Config.Healthcheck.Test"), Host, Host),
    field(
        "health_check.command.command",
        "program and arguments",
        "must be given",
        Out("Config.Healthcheck.Test"),
        Host,
        Host,
    ),
    field(
        "health_check.command.interval",
        "time, 100 ms to 1 d",
        "30 s",
        Out("Config.Healthcheck.Interval"),
        Host,
        Host,
    ),
    field("health_check.command.timeout", "time, 1 ms to 1 d", "30 s", Out("Config.Healthcheck.Timeout"), Host, Host),
    field(
        "health_check.command.start_period",
        "time, up to 1 d",
        "0",
        Out("Config.Healthcheck.StartPeriod"),
        Host,
        Host,
    ),
    field(
        "health_check.command.start_interval",
        "time, 100 ms to 1 d; Docker from 25 on",
        "as `interval`; Docker from 25 on: 5 s",
        Out("Config.Healthcheck.StartInterval"),
        Host,
        Host,
    ),
    field("health_check.command.retries", "from 1", "3", Out("Config.Healthcheck.Retries"), Host, Host),
    host("restart_unhealthy", "yes or no", "no"),
    host("probes.startup", "a probe", "none"),
    host("probes.readiness", "a probe", "none"),
    host("probes.liveness", "a probe", "none"),
    field(
        "logs.max_size",
        "bytes of one file; docker from 4 KiB, process from 128 KiB",
        "10 MiB",
        Out("HostConfig.LogConfig max-size"),
        Out("the files' size"),
        Refused,
    ),
    field(
        "logs.max_files",
        "from 1; process up to 100",
        "3",
        Out("HostConfig.LogConfig max-file"),
        Out("the number of files"),
        Refused,
    ),
    field(
        "options",
        "of the backend's own, by its schema",
        "none",
        Out("the next table"),
        Refused,
        Out("how it behaves"),
    ),
];

/// Of `options` of the backend `docker`: its path, its value, and where `docker inspect` shows it.
pub const DOCKER_OPTIONS: &[[&str; 3]] = &[
    ["entrypoint", "program and first arguments, instead of the image's", "Config.Entrypoint"],
    ["read_only_root", "yes or no; the root file system cannot be written", "HostConfig.ReadonlyRootfs"],
    ["drop_capabilities", "names of Linux capabilities, or `ALL`", "HostConfig.CapDrop"],
    ["add_capabilities", "names of Linux capabilities; granted", "HostConfig.CapAdd"],
    ["privileged", "yes or no; granted", "HostConfig.Privileged"],
];

/// Of a probe: its path, its value, and what is so where it is absent. The host carries out all of it; `exec` needs a
/// backend that runs commands.
pub const PROBE: &[[&str; 3]] = &[
    ["check.exec.command", "program and arguments", "one of the three checks must be given"],
    ["check.http.port", "1 to 65535; with an image: published at a fixed port", "must be given"],
    ["check.http.path", "path and query", "`/`"],
    ["check.http.headers", "up to 32 secret texts by name", "none"],
    ["check.tcp.port", "1 to 65535; with an image: published at a fixed port", "must be given"],
    ["interval", "time, 100 ms to 1 d", "10 s"],
    ["timeout", "time, 1 ms to 1 d", "1 s"],
    ["initial_delay", "time, up to 1 d", "0"],
    ["failure_threshold", "from 1", "3"],
    ["success_threshold", "from 1; more than 1 for readiness only", "1"],
];

/// Of `[backend.NAME.grants]`: its path, its value, and what is so where it is absent.
pub const GRANTS: &[[&str; 3]] = &[
    ["state.bytes", "size of all values of the backend's own map; `state = true` for the defaults", "16 MiB"],
    ["state.keys", "number of keys of that map", "100000"],
    ["docker.host", "`unix:///path` or `tcp://host:port`", "`DOCKER_HOST`, else `/var/run/docker.sock`"],
    ["docker.mounts", "directories: `path`, and `write` (no)", "none"],
    ["docker.volumes", "yes or no: volumes of the driver `local`", "no"],
    ["docker.host-network", "yes or no: the network of the host", "no"],
    ["docker.privileged", "yes or no: as good as root", "no"],
    ["docker.capabilities", "names of Linux capabilities that may be added", "none"],
    ["docker.publish", "IP addresses to publish on, besides loopback", "none"],
    ["docker.pull", "yes or no: have the Engine fetch images", "yes"],
    ["process.programs", "files, or directories of files, that may run", "every program"],
    ["process.directories", "directories that may be worked in", "every directory"],
    ["process.user", "name or number, and `:group`", "root's daemon: `nobody`; else its own"],
    ["process.users", "whom else a session may ask to run as", "nobody"],
    ["process.path", "where programs are looked for", "the usual six directories"],
    ["process.env", "texts by name that every session gets", "none"],
];

/// The tables as Markdown.
pub fn markdown() -> String {
    let cell = |carried| match carried {
        Out(place) => format!("`{place}`"),
        Host => "the host".to_owned(),
        Pretended => "pretended".to_owned(),
        Refused => "refused".to_owned(),
    };
    let mut text = String::from("| field | value | default | docker | process | mock |\n|---|---|---|---|---|---|\n");
    for Field { path, value, default, docker, process, mock } in SPEC {
        let [docker, process, mock] = [docker, process, mock].map(|carried| cell(*carried));
        text.push_str(&format!("| `{path}` | {value} | {default} | {docker} | {process} | {mock} |\n"));
    }
    for (head, rows) in [
        ("| of `options`, docker | value | shown in |", DOCKER_OPTIONS),
        ("| of a probe | value | default |", PROBE),
        ("| of `[backend.NAME.grants]` | value | default |", GRANTS),
    ] {
        text.push_str(&format!("\n{head}\n|---|---|---|\n"));
        for [path, value, default] in rows {
            text.push_str(&format!("| `{path}` | {value} | {default} |\n"));
        }
    }
    text
}
