//! Sessions of every kind, drawn at random, through the flags of `run` and through session files, and broken ones of both:
//! what is right arrives as it was meant, what is wrong is refused by its name, and nothing panics.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory as _, Parser as _};
use proptest::prelude::*;
use seawall_model::{
    ExecCheck, HealthCheck, HealthCommand, HttpCheck, LogLimits, Mount, MountSource, Network, Port, Probe, ProbeCheck,
    Probes, Protocol, Resources, RestartBackoff, RestartBudget, RestartPolicy, Secret, SessionSpec, Signal, Size,
    TcpCheck, Ulimit,
};

use super::run::Run;
use super::session_file::SessionFile;
use super::{Cli, Command};

fn spans(millis: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    millis.prop_map(Duration::from_millis)
}

const DAY: u64 = 24 * 3600 * 1000;

fn paths() -> impl Strategy<Value = String> {
    "/[a-zA-Z0-9_.-]{1,12}(/[a-zA-Z0-9_.-]{1,8}){0,2}"
}

fn mounts() -> impl Strategy<Value = Mount> {
    let source = prop_oneof![
        paths().prop_map(MountSource::Bind),
        "[a-z][a-z0-9]{1,10}".prop_map(MountSource::Volume),
        (1..1_u64 << 40).prop_map(|bytes| MountSource::Tmpfs(Some(Size(bytes)))),
    ];
    (source, paths(), any::<bool>()).prop_map(|(source, target, read_only)| Mount::new(source, target, read_only))
}

fn resources() -> impl Strategy<Value = Resources> {
    let ulimit = ("[a-z]{1,8}", 0..1_u64 << 40, 0..1_u64 << 20).prop_map(|(name, soft, more)| Ulimit {
        name,
        soft,
        hard: soft + more,
    });
    let cpus = (1..100_000_u32).prop_map(|millis| seawall_model::Cpus { millis });
    let memory = prop::option::of(6_u64 << 20..1_u64 << 40);
    let (cpus, processes) = (prop::option::of(cpus), prop::option::of(1..100_000_u32));
    (memory, cpus, processes, prop::collection::vec(ulimit, 0..3))
        .prop_map(|(memory, cpus, processes, ulimits)| Resources { memory: memory.map(Size), cpus, processes, ulimits })
}

fn ports() -> impl Strategy<Value = Port> {
    let address = prop::sample::select(vec!["127.0.0.1", "0.0.0.0", "::1"]).prop_map(|text| text.parse().ok());
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]);
    (1..=u16::MAX, prop::option::of(1..=u16::MAX), prop_oneof![Just(None), address], protocol)
        .prop_map(|(container, host, address, protocol)| Port { container, host, address, protocol })
}

/// On a port that the session need not publish: without an image it is the host's own.
fn probes(role: &'static str) -> impl Strategy<Value = Probe> {
    let check = prop_oneof![
        (1..=u16::MAX).prop_map(|port| ProbeCheck::Tcp(TcpCheck { port })),
        (1..=u16::MAX, "/[a-z0-9/?&=]{0,10}").prop_map(|(port, path)| {
            ProbeCheck::Http(HttpCheck { port, path, headers: [("X-A".to_owned(), Secret::new("b c"))].into() })
        }),
        prop::collection::vec("[a-z ,='\"$-]{1,8}", 1..3).prop_map(|command| ProbeCheck::Exec(ExecCheck { command })),
    ];
    let most: u32 = if role == "readiness" { 9 } else { 1 };
    (check, spans(100..=DAY), spans(1..=DAY), spans(0..=DAY), 1..100_u32, 1..=most).prop_map(
        |(check, interval, timeout, initial_delay, failure_threshold, success_threshold)| Probe {
            check,
            interval,
            timeout,
            initial_delay,
            failure_threshold,
            success_threshold,
        },
    )
}

fn health_checks() -> impl Strategy<Value = HealthCheck> {
    let times = (spans(100..=DAY), spans(1..=DAY), spans(0..=DAY), prop::option::of(spans(100..=DAY)));
    let command = ("[a-z ./|-]{1,20}", times, 1..100_u32).prop_map(|(command, times, retries)| {
        let (interval, timeout, start_period, start_interval) = times;
        let command = vec!["sh".to_owned(), "-c".to_owned(), command];
        HealthCheck::Command(HealthCommand { command, interval, timeout, start_period, start_interval, retries })
    });
    prop_oneof![Just(HealthCheck::Disabled), command]
}

fn restarts() -> impl Strategy<Value = (RestartPolicy, RestartBackoff, Option<RestartBudget>)> {
    let policy = prop_oneof![
        Just(RestartPolicy::Always),
        prop::option::of(1..1000_u32).prop_map(|max| RestartPolicy::OnFailure { max }),
    ];
    let backoff = (prop::option::of((10..DAY / 2, 0..DAY / 2)), any::<bool>(), prop::option::of(spans(0..=DAY)))
        .prop_map(|(first, bounded, reset)| RestartBackoff {
            first: first.map(|(first, _)| Duration::from_millis(first)),
            most: first.filter(|_| bounded).map(|(first, more)| Duration::from_millis(first + more)),
            reset,
        });
    let budget =
        (1..=100_u32, spans(1000..=30 * DAY)).prop_map(|(restarts, within)| RestartBudget { restarts, within });
    prop_oneof![
        Just((RestartPolicy::Never, RestartBackoff::default(), None)),
        (policy, backoff, prop::option::of(budget)),
    ]
}

fn options() -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
    let value = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        (0..1_i64 << 40).prop_map(serde_json::Value::from),
        "\\PC{0,8}".prop_map(serde_json::Value::from),
        prop::collection::vec("[a-z]{0,4}", 0..3).prop_map(serde_json::Value::from),
    ];
    prop::collection::btree_map("[a-z_]{1,8}", value, 0..3).prop_map(|map| map.into_iter().collect())
}

prop_compose! {
    fn identities()(
        name in prop::option::of("[a-z][a-z0-9_.-]{1,20}"),
        labels in prop::collection::btree_map("[a-z][a-zA-Z0-9./-]{0,20}", "\\PC{0,20}", 0..3),
        image in prop::option::of("[a-z]{1,10}(:[a-z0-9]{1,5})?"),
        command in prop::collection::vec("\\PC{1,12}", 0..4),
        env in prop::collection::btree_map("[A-Z_][A-Z0-9_]{0,8}", "\\PC{0,20}", 0..3),
        env_from in prop::collection::btree_map("[a-z][a-z0-9_]{0,8}", paths(), 0..3),
        working_dir in prop::option::of(paths()),
        user in prop::option::of("[a-z0-9]{1,8}(:[a-z0-9]{1,8})?"),
        hostname in prop::option::of("[a-z0-9-]{1,20}"),
    ) -> SessionSpec {
        SessionSpec {
            name: name.map(|name| name.parse().unwrap()),
            labels,
            image,
            command,
            env: env.into_iter().map(|(key, value)| (key, Secret::new(value))).collect(),
            env_from,
            working_dir,
            user,
            hostname,
            ..SessionSpec::new("mock".parse().unwrap())
        }
    }
}

prop_compose! {
    /// A session that can be asked for in flags as well as in a file.
    fn sessions()(
        base in identities(),
        mounts in prop::collection::vec(mounts(), 0..3),
        resources in resources(),
        network in prop::option::of(prop::sample::select(vec![Network::Internet, Network::Isolated, Network::Host])),
        ports in prop::collection::vec(ports(), 0..3),
        flags in any::<[bool; 5]>(),
        stop in (prop::option::of(1..=64_u32), prop::option::of(spans(0..=3_600_000))),
        (restart, restart_backoff, restart_budget) in restarts(),
        health_check in prop::option::of(health_checks()),
        probed in (prop::option::of(probes("startup")), prop::option::of(probes("readiness")), prop::option::of(probes("liveness"))),
        logs in (prop::option::of(1..1_u64 << 40), prop::option::of(1..1000_u32)),
        options in options(),
    ) -> SessionSpec {
        let [tty, stdin, init, auto_remove, restart_unhealthy] = flags;
        let checked = health_check != Some(HealthCheck::Disabled);
        let mut spec = SessionSpec {
            mounts,
            resources,
            network,
            ports,
            tty,
            stdin,
            init,
            stop_signal: stop.0.and_then(|number| Signal::from_number(number).ok()),
            stop_grace: stop.1,
            restart,
            restart_backoff,
            restart_budget,
            auto_remove,
            health_check,
            restart_unhealthy: restart_unhealthy && checked,
            probes: Probes { startup: probed.0, readiness: probed.1, liveness: probed.2 },
            logs: LogLimits { max_size: logs.0.map(Size), max_files: logs.1 },
            options,
            ..base
        };
        if spec.image.is_some() || matches!(spec.network, Some(Network::Isolated)) {
            // A probe by the host would need a port that it can reach.
            spec.probes = Probes::default();
        }
        spec
    }
}

fn span(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn probe_flag(probe: &Probe) -> String {
    let (check, header) = match &probe.check {
        ProbeCheck::Tcp(tcp) => (format!("tcp:{}", tcp.port), ""),
        ProbeCheck::Http(http) => (format!("http:{}{}", http.port, http.path), ",header=X-A: b c"),
        ProbeCheck::Exec(exec) => {
            let quoted = exec.command.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''")));
            (format!("exec:{}", quoted.collect::<Vec<_>>().join(" ")), "")
        }
    };
    format!(
        "{check},interval={},timeout={},initial-delay={},failure-threshold={},success-threshold={}{header}",
        span(probe.interval),
        span(probe.timeout),
        span(probe.initial_delay),
        probe.failure_threshold,
        probe.success_threshold
    )
}

fn port_flag(port: &Port) -> String {
    let protocol = if port.protocol == Protocol::Udp { "/udp" } else { "" };
    let host = port.host.map(|host| host.to_string());
    let place = match (port.address, host) {
        (None, None) => String::new(),
        (None, Some(host)) => format!("{host}:"),
        (Some(address), host) => {
            let host = host.unwrap_or_default();
            if address.is_ipv6() { format!("[{address}]:{host}:") } else { format!("{address}:{host}:") }
        }
    };
    format!("{place}{}{protocol}", port.container)
}

fn mount_flag(mount: &Mount) -> String {
    let from = match &mount.source {
        MountSource::Bind(path) => format!("type=bind,source={path}"),
        MountSource::Volume(name) => format!("type=volume,src={name}"),
        MountSource::Tmpfs(size) => format!("type=tmpfs,tmpfs-size={}", size.unwrap()),
    };
    format!("{from},target={},readonly={}", mount.target, mount.read_only)
}

/// The flags that ask for a session.
fn line(spec: &SessionSpec) -> Vec<String> {
    let mut line = vec!["seawall".to_owned(), "run".to_owned(), format!("--backend={}", spec.backend)];
    let mut flag = |name: &str, value: Option<String>| line.extend(value.map(|value| format!("--{name}={value}")));
    flag("name", spec.name.as_ref().map(ToString::to_string));
    flag("image", spec.image.clone());
    flag("workdir", spec.working_dir.clone());
    flag("user", spec.user.clone());
    flag("hostname", spec.hostname.clone());
    spec.labels.iter().for_each(|(key, value)| flag("label", Some(format!("{key}={value}"))));
    spec.env.iter().for_each(|(key, value)| flag("env", Some(format!("{key}={}", value.reveal()))));
    spec.env_from.iter().for_each(|(key, path)| flag("env-from", Some(format!("{key}={path}"))));
    spec.mounts.iter().for_each(|mount| flag("mount", Some(mount_flag(mount))));
    spec.ports.iter().for_each(|port| flag("publish", Some(port_flag(port))));
    let Resources { memory, cpus, processes, ulimits } = &spec.resources;
    flag("memory", memory.map(|memory| memory.to_string()));
    flag("cpus", cpus.map(|cpus| cpus.to_string()));
    flag("processes", processes.map(|processes| processes.to_string()));
    ulimits.iter().for_each(|of| flag("ulimit", Some(format!("{}={}:{}", of.name, of.soft, of.hard))));
    flag("network", spec.network.as_ref().map(super::sessions::word));
    flag("stop-signal", spec.stop_signal.map(|signal| signal.to_string()));
    flag("stop-grace", spec.stop_grace.map(span));
    flag("restart", Some(spec.restart.to_string()));
    let RestartBackoff { first, most, reset } = spec.restart_backoff;
    let most = most.map(|most| format!("..{}", span(most))).unwrap_or_default();
    flag("restart-backoff", first.map(|first| format!("{}{most}", span(first))));
    flag("restart-reset", reset.map(span));
    flag("restart-budget", spec.restart_budget.map(|budget| format!("{}/{}", budget.restarts, span(budget.within))));
    if let Some(HealthCheck::Command(check)) = &spec.health_check {
        flag("health-cmd", check.command.get(2).cloned());
        flag("health-interval", Some(span(check.interval)));
        flag("health-timeout", Some(span(check.timeout)));
        flag("health-start-period", Some(span(check.start_period)));
        flag("health-start-interval", check.start_interval.map(span));
        flag("health-retries", Some(check.retries.to_string()));
    }
    for (role, probe) in spec.probes.named() {
        flag(role, Some(probe_flag(probe)));
    }
    flag("log-max-size", spec.logs.max_size.map(|size| size.to_string()));
    flag("log-max-files", spec.logs.max_files.map(|files| files.to_string()));
    spec.options.iter().for_each(|(key, value)| flag("option", Some(format!("{key}={value}"))));
    let switches = [
        ("--tty", spec.tty),
        ("--stdin", spec.stdin),
        ("--init", spec.init),
        ("--rm", spec.auto_remove),
        ("--restart-unhealthy", spec.restart_unhealthy),
        ("--no-healthcheck", spec.health_check == Some(HealthCheck::Disabled)),
    ];
    line.extend(switches.iter().filter(|(_, on)| *on).map(|(switch, _)| (*switch).to_owned()));
    line.push("--".to_owned());
    line.extend(spec.command.iter().cloned());
    line
}

fn run_of(line: &[String]) -> Result<Box<Run>, clap::Error> {
    match Cli::try_parse_from(line)?.command {
        Command::Run(run) => Ok(run),
        other => panic!("{other:?}"),
    }
}

fn file(text: &str) -> SessionFile {
    SessionFile::of("session.toml", text)
}

/// The fields at fault, by their names.
fn refused(spec: &SessionSpec) -> Vec<String> {
    let problems = spec.validate().err().map(|invalid| invalid.problems).unwrap_or_default();
    problems.into_iter().map(|problem| problem.field).collect()
}

type Spoil = fn(&mut SessionSpec);

/// What makes a session one that cannot be, and the field that is then named.
const BREAKERS: [(&str, Spoil); 16] = [
    ("env.1X", |spec| drop(spec.env.insert("1X".to_owned(), Secret::new("")))),
    ("env.NUL", |spec| drop(spec.env.insert("NUL".to_owned(), Secret::new("\0")))),
    ("env_from.REL", |spec| drop(spec.env_from.insert("REL".to_owned(), "here".to_owned()))),
    ("labels.seawall.x", |spec| drop(spec.labels.insert("seawall.x".to_owned(), String::new()))),
    ("command[0]", |spec| spec.command.insert(0, String::new())),
    ("working_dir", |spec| spec.working_dir = Some("here".to_owned())),
    ("user", |spec| spec.user = Some(String::new())),
    ("hostname", |spec| spec.hostname = Some("a\nb".to_owned())),
    ("resources.memory", |spec| spec.resources.memory = Some(Size(1))),
    ("resources.processes", |spec| spec.resources.processes = Some(0)),
    ("stop_grace", |spec| spec.stop_grace = Some(Duration::from_secs(3601))),
    ("network.named", |spec| spec.network = Some(Network::Named(Vec::new()))),
    ("restart_backoff.reset", |spec| {
        spec.restart = RestartPolicy::Always;
        spec.restart_backoff.reset = Some(Duration::from_millis(DAY + 1));
    }),
    ("restart_budget.restarts", |spec| {
        spec.restart = RestartPolicy::Always;
        spec.restart_budget = Some(RestartBudget { restarts: 101, within: Duration::from_secs(1) });
    }),
    ("restart_budget", |spec| {
        spec.restart = RestartPolicy::Never;
        spec.restart_backoff = RestartBackoff::default();
        spec.restart_budget = Some(RestartBudget { restarts: 1, within: Duration::from_secs(1) });
    }),
    ("ports[0].container", |spec| {
        spec.ports.insert(0, Port { container: 0, host: None, address: None, protocol: Protocol::Tcp });
    }),
];

/// A field of a value that no type of it takes.
const MISTYPED: [(&str, &str); 8] = [
    ("tty", "tty = \"perhaps\""),
    ("restart", "restart = \"unless-stopped\""),
    ("stop_grace", "stop_grace = \"soon\""),
    ("stop_signal", "stop_signal = \"SOON\""),
    ("command", "command = \"one text\""),
    ("name", "name = \"a b\""),
    ("network", "network = \"lan\""),
    ("ports[0].container", "ports = [{ container = 65536 }]"),
];

/// Every word that the command line knows.
fn known_words() -> Vec<String> {
    fn walk(command: &clap::Command, words: &mut BTreeSet<String>) {
        words.insert(command.get_name().to_owned());
        for argument in command.get_arguments() {
            words.extend(argument.get_long().map(|long| format!("--{long}")));
            words.extend(argument.get_short().map(|short| format!("-{short}")));
        }
        command.get_subcommands().for_each(|command| walk(command, words));
    }
    let mut words = BTreeSet::new();
    walk(&Cli::command(), &mut words);
    words.into_iter().collect()
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    let known = known_words();
    let commands = known.iter().filter(|word| !word.starts_with('-')).cloned().collect::<Vec<_>>();
    let values = prop::sample::select(vec![
        "",
        "-",
        "--",
        "0",
        "-1",
        "1",
        "99999999999999999999",
        "1e999",
        "10s",
        "1h..2h",
        "9999999999999y",
        "5/10m",
        "64MiB",
        "18446744073709551616",
        "a=b",
        "=",
        "/",
        ":",
        "::",
        "[::1]:1:2",
        "1:2/udp",
        "type=tmpfs,target=/t",
        "http:1/x,",
        "exec:'",
        "state=running",
        "{{.Name}}",
        "{{",
        "é",
        "mock",
    ]);
    let word = prop_oneof![
        3 => prop::sample::select(known),
        3 => values.prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => "-{1,2}[a-zA-Z-]{0,8}(=\\PC{0,6})?",
    ];
    (prop::sample::select(commands), prop::collection::vec(word, 0..8))
        .prop_map(|(command, words)| [vec!["seawall".to_owned(), command], words].concat())
}

proptest! {
    #[test]
    fn a_session_arrives_through_the_flags_as_it_was_meant(spec in sessions()) {
        prop_assert_eq!(refused(&spec), [""; 0], "the generator is at fault");
        let run = run_of(&line(&spec)).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let read = run.spec().map_err(|failure| TestCaseError::fail(failure.chain()))?;
        prop_assert_eq!(read, spec);
    }

    #[test]
    fn a_session_arrives_through_a_file_as_it_was_meant(spec in sessions()) {
        let text = toml::to_string(&spec).unwrap();
        let read = file(&text).spec(None).map_err(|failure| TestCaseError::fail(failure.chain()))?;
        prop_assert_eq!(read, spec);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name_and_its_place_in_the_file(
        spec in sessions(),
        (field, spoil) in prop::sample::select(BREAKERS.to_vec()),
    ) {
        let mut broken = spec;
        spoil(&mut broken);
        prop_assert_eq!(refused(&broken), [field]);
        let text = toml::to_string(&broken).unwrap();
        let file = file(&text);
        let read = file.spec(None).map_err(|failure| TestCaseError::fail(failure.chain()))?;
        let said = file.invalid(&read.validate().unwrap_err()).chain();
        prop_assert!(said.starts_with("session.toml:") && said.contains(&format!(" {field}: ")), "{said}");
    }

    #[test]
    fn what_a_file_has_too_much_or_of_another_type_is_refused_by_its_name_and_line(
        spec in sessions(),
        key in "[a-z]{3,12}x",
        (field, wrong) in prop::sample::select(MISTYPED.to_vec()),
    ) {
        let text = toml::to_string(&spec).unwrap();
        let said = file(&format!("{key} = 1\n{text}")).spec(None).unwrap_err().chain();
        prop_assert!(said.starts_with("session.toml:1:1: ") && said.contains(&key), "{said}");
        let said = file(&format!("backend = \"mock\"\n{wrong}")).spec(None).unwrap_err().chain();
        prop_assert!(said.starts_with("session.toml:2:") && said.contains(&format!(" {field}: ")), "{said}");
    }

    #[test]
    fn a_file_of_which_a_piece_is_gone_is_read_or_refused_with_its_name(
        spec in sessions(),
        cut in (any::<prop::sample::Index>(), 0..8_usize),
        noise in "\\PC{0,3}",
    ) {
        let letters: Vec<char> = toml::to_string(&spec).unwrap().chars().collect();
        let from = cut.0.index(letters.len());
        let to = (from + cut.1).min(letters.len());
        let text: String = letters[..from].iter().chain(noise.chars().collect::<Vec<_>>().iter()).chain(&letters[to..]).collect();
        let file = file(&text);
        match file.spec(None) {
            Ok(read) => {
                if let Err(invalid) = read.validate() {
                    let said = file.invalid(&invalid).chain();
                    prop_assert!(invalid.problems.iter().all(|problem| said.contains(&problem.field)), "{said}");
                }
            }
            Err(failure) => prop_assert!(failure.chain().starts_with("session.toml"), "{}", failure.chain()),
        }
    }

    #[test]
    fn any_line_is_read_or_refused_with_what_is_wrong_in_it(line in lines()) {
        match Cli::try_parse_from(&line) {
            Ok(Cli { command: Command::Run(run), .. }) if !run.reads_files() => {
                // Whatever comes of it is a spec or a refusal.
                if let Err(failure) = run.spec() {
                    prop_assert!(!failure.chain().is_empty());
                }
            }
            Ok(_) => {}
            Err(error) => {
                let said = error.to_string();
                let named = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
                let named = named.iter().find_map(|kind| error.get(*kind)).map(ToString::to_string);
                let by_name = matches!(
                    error.kind(),
                    ErrorKind::UnknownArgument | ErrorKind::InvalidValue | ErrorKind::ValueValidation
                        | ErrorKind::InvalidSubcommand
                );
                prop_assert!(!said.is_empty() && (!by_name || named.is_some_and(|name| said.contains(&name))), "{said}");
            }
        }
    }
}
