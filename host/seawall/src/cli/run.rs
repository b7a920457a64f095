//! `seawall run`: flags into a session's spec.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use seawall_model::{
    BackendName, Cpus, HealthCheck, HealthCommand, LogLimits, Mount, Network, Port, Probe, Probes, RestartBudget,
    RestartPolicy, Secret, Session, SessionName, SessionSpec, SessionState, Signal, Size, Ulimit,
};
use serde_json::json;

use super::attach::{Attached, With};
use super::probe::probe;
use super::pull::{When, before};
use super::session_file::{SessionFile, variables};
use super::sessions::seconds;
use super::terminal::{self, DetachKeys};
use super::values::{log_option, mount, network, port, restart_backoff, restart_budget, tmpfs, ulimit, volume};
use super::{Global, printable, say};
use crate::api::Until;
use crate::client::{Client, POLL};
use crate::exit::Failure;

/// Flags of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The backend that runs it; `seawall backend ls` lists them. Default: that of --file, then SEAWALL_BACKEND
    #[arg(short, long)]
    backend: Option<BackendName>,
    /// A session in TOML, by the fields of the API; - is standard input. Flags come over it: a map's key and a single value
    /// are replaced, a list is added to
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Show what it writes until it is over, pass signals on to it, and end with its exit code. With --stdin what is read here
    /// goes to it; --stdin and --tty together do this by themselves
    #[arg(short, long, conflicts_with_all = ["no_wait", "detach"])]
    attach: bool,
    /// The keys that leave a session with a terminal, which goes on
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// Return once it runs: what happens without --attach
    #[arg(short, long)]
    detach: bool,
    /// Remove it once it has run and is over for good
    #[arg(long)]
    rm: bool,
    /// Its name; made of its id if there is none
    #[arg(short, long)]
    name: Option<SessionName>,
    /// The image, for backends that have images
    #[arg(long)]
    image: Option<String>,
    /// Whether the image is fetched first. Default: missing, where the backend can fetch any, and never with --no-wait
    #[arg(long, value_name = "WHEN", value_enum)]
    pull: Option<When>,
    /// A variable; without a value it is the caller's own
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
    /// A file with variables, KEY=VALUE or KEY a line; --env comes over it
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// A variable whose value is a file of the daemon's host, read at every start; in a directory of its `env-files`
    #[arg(long, value_name = "KEY=PATH")]
    env_from: Vec<String>,
    /// A label
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// A user name or number, and :group
    #[arg(short, long)]
    user: Option<String>,
    /// An absolute path in the session
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// What it believes the machine is called
    #[arg(long)]
    hostname: Option<String>,
    /// Its memory, such as 64MiB
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Its processors, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<Cpus>,
    /// Its tasks, processes and threads together
    #[arg(long, visible_alias = "pids-limit", value_name = "NUMBER")]
    processes: Option<u32>,
    /// A limit of its first process, such as nofile=1024 or nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = ulimit)]
    ulimit: Vec<Ulimit>,
    /// Something to mount: /host/path:/target[:rw], volume:/target[:rw]
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro|rw]", value_parser = volume)]
    volume: Vec<Mount>,
    /// The same as in type=bind,source=/host/path,target=/target; read-only without readonly=false
    #[arg(long, value_name = "type=TYPE,...", value_parser = mount)]
    mount: Vec<Mount>,
    /// Memory to mount
    #[arg(long, value_name = "TARGET[:SIZE]", value_parser = tmpfs)]
    tmpfs: Vec<Mount>,
    /// Its network, or the name of one where the backend has such; in Docker's words bridge and none
    #[arg(long, visible_alias = "net", value_name = "internet|isolated|host|NAME", value_parser = network)]
    network: Option<Network>,
    /// A port to publish: 8080:80, 127.0.0.1:8080:80/tcp, or 80 for any free port of the host
    #[arg(short, long, value_name = "[[ADDRESS:]HOST:]PORT[/PROTOCOL]", value_parser = port)]
    publish: Vec<Port>,
    /// What happens when it ends by itself. Default: never
    #[arg(long, value_name = "never|on-failure[:N]|always")]
    restart: Option<RestartPolicy>,
    /// How long it waits before that: from about this after the first failure, doubling with each, up to the second
    #[arg(long, value_name = "FIRST[..MOST]", value_parser = restart_backoff)]
    restart_backoff: Option<(Duration, Option<Duration>)>,
    /// One that ran for so long begins the backoff and the count of on-failure:N anew
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    restart_reset: Option<Duration>,
    /// How often it may be started again within such a time, however well it did
    #[arg(long, value_name = "NUMBER/DURATION", value_parser = restart_budget)]
    restart_budget: Option<RestartBudget>,
    /// What a polite stop begins with
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<Signal>,
    /// How long after the stop signal it is killed, such as 30s; a number alone is seconds
    #[arg(long, visible_alias = "stop-timeout", value_name = "DURATION", value_parser = seconds)]
    stop_grace: Option<Duration>,
    /// A command, run by sh, whose exit code is the session's health
    #[arg(long, value_name = "COMMAND", conflicts_with = "no_healthcheck")]
    health_cmd: Option<String>,
    /// Between two health checks
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "health_cmd", value_parser = humantime::parse_duration)]
    health_interval: Duration,
    /// A health check that takes longer failed
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "health_cmd", value_parser = humantime::parse_duration)]
    health_timeout: Duration,
    /// Failures this soon after the start do not count
    #[arg(long, value_name = "DURATION", default_value = "0s", requires = "health_cmd", value_parser = humantime::parse_duration)]
    health_start_period: Duration,
    /// Between two health checks until then, or until one has passed
    #[arg(long, value_name = "DURATION", requires = "health_cmd", value_parser = humantime::parse_duration)]
    health_start_interval: Option<Duration>,
    /// This many failures in a row make it unhealthy
    #[arg(long, value_name = "NUMBER", default_value_t = 3, requires = "health_cmd")]
    health_retries: u32,
    /// Running is healthy, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
    /// A health check that fails starts it again by --restart; without this, nothing follows from it
    #[arg(long)]
    restart_unhealthy: bool,
    /// What is asked until it has started; if that fails, it is started again by --restart
    #[arg(long, value_name = "PROBE", value_parser = probe)]
    startup: Option<Probe>,
    /// What tells whether it may be given work
    #[arg(long, value_name = "PROBE", value_parser = probe)]
    readiness: Option<Probe>,
    /// What it must answer, or it is started again by --restart: http:8080/healthz,interval=5s or tcp:5432 or exec:COMMAND
    #[arg(long, value_name = "PROBE", value_parser = probe)]
    liveness: Option<Probe>,
    /// The size of one log file
    #[arg(long, value_name = "SIZE")]
    log_max_size: Option<Size>,
    /// How many log files are kept
    #[arg(long, value_name = "NUMBER")]
    log_max_files: Option<u32>,
    /// The same as in max-size=10m,max-file=3
    #[arg(long, value_name = "OPTION=VALUE", value_parser = log_option, conflicts_with_all = ["log_max_size", "log_max_files"])]
    log_opt: Vec<LogLimits>,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Keep its standard input open
    #[arg(short = 'i', long, visible_alias = "interactive")]
    stdin: bool,
    /// A small init as its first process
    #[arg(long)]
    init: bool,
    /// The program, instead of the image's own: the option `entrypoint`
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Its root file system cannot be written: the option `read_only_root`
    #[arg(long)]
    read_only: bool,
    /// A Linux capability to add: the option `add_capabilities`
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// A Linux capability to take away, or ALL: the option `drop_capabilities`
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// All that the host may: the option `privileged`
    #[arg(long)]
    privileged: bool,
    /// A field of the backend's own; the value is JSON, or else text
    #[arg(short, long, value_name = "KEY=VALUE")]
    option: Vec<String>,
    /// Return as soon as the session is stored, before it runs
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until it runs
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run {
    /// Creates the session and waits until it runs, ended, or a try failed.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let (no_wait, timeout) = (self.no_wait, self.timeout);
        if self.attach && global.json {
            let message = "--attach shows bytes as the session writes them: there is no --json of them";
            return Err(Failure::Usage(message.into()));
        }
        let attach = self.attach || (self.tty && self.stdin && !self.detach && !no_wait);
        let (keys, pull) = (self.detach_keys.clone(), self.pull);
        let spec = self.spec()?;
        let typed = spec.stdin && spec.tty;
        if attach && typed && !terminal::is_interactive() {
            let message = "standard input is no terminal: leave --tty out, or run this at one, or with --detach";
            return Err(Failure::Usage(message.into()));
        }
        // Whoever does not wait for the session does not wait for its image, unless that is asked for.
        if pull.is_some() || !no_wait {
            before(global, client, &spec.backend, spec.image.as_deref(), pull).await?;
        }
        // In a terminal of its own the keys make the signals there.
        let listening = (attach && !typed).then(Attached::listen).transpose()?;
        let hold = timeout.map_or(POLL, |timeout| timeout.min(POLL));
        let hold_for = format!("{}ms", hold.as_millis());
        let query = [("wait", (!no_wait).to_string()), ("attach", attach.to_string()), ("timeout", hold_for)];
        let mut session: Session = client.post(&["sessions"], &query, &spec).await?;
        if !no_wait && !Until::Settled.holds(&session) {
            let timeout = timeout.map(|timeout| timeout.saturating_sub(hold));
            session = match client.wait(session.id.as_str(), Until::Settled, timeout).await? {
                Some(session) => session,
                None => return Err(Failure::Session(format!("session {} was removed meanwhile", session.id))),
            };
        }
        if attach {
            // One that waits for another try is left to that, and what stands in the way is said.
            if !Until::Running.holds(&session) && session.state != SessionState::Restarting {
                return outcome(&session);
            }
            return match listening {
                Some(attached) if !session.spec.stdin => attached.follow(global, client, &session).await,
                listening => {
                    With { stdin: true, keys, from_start: true, follow_restarts: false }
                        .hold(global, client, &session, listening)
                        .await
                }
            };
        }
        if global.json {
            global.show(&session, |_| String::new())?;
        } else {
            say(&format!("{}\n", session.id))?;
        }
        if no_wait { Ok(0) } else { outcome(&session) }
    }

    /// What the file says, and the flags over it.
    pub(super) fn spec(mut self) -> Result<SessionSpec, Failure> {
        let backend = match &self.backend {
            Some(backend) => Some(backend.clone()),
            None => usual_backend()?,
        };
        let Some(file) = self.file.take() else {
            let Some(backend) = backend else {
                let message = "which backend runs it? name one with --backend; `seawall backend ls` lists them";
                return Err(Failure::Usage(message.into()));
            };
            return self.over(SessionSpec::new(backend));
        };
        let file = SessionFile::read(&file)?;
        let spec = self.over(file.spec(backend.as_ref())?)?;
        spec.validate().map_err(|invalid| file.invalid(&invalid))?;
        Ok(spec)
    }

    /// It looks at more than the line and its environment.
    #[cfg(test)]
    pub(super) fn reads_files(&self) -> bool {
        self.file.is_some() || !self.env_file.is_empty()
    }

    fn over(self, mut spec: SessionSpec) -> Result<SessionSpec, Failure> {
        spec.backend = self.backend.unwrap_or(spec.backend);
        spec.name = self.name.or(spec.name);
        spec.labels.extend(pairs("--label", self.label)?);
        spec.image = self.image.or(spec.image);
        if !self.command.is_empty() {
            spec.command = self.command;
        }
        for file in &self.env_file {
            variables(file, &mut spec.env)?;
        }
        spec.env.extend(variables_of(self.env)?);
        spec.env_from.extend(pairs("--env-from", self.env_from)?);
        spec.working_dir = self.workdir.or(spec.working_dir);
        spec.user = self.user.or(spec.user);
        spec.hostname = self.hostname.or(spec.hostname);
        spec.mounts.extend(self.volume.into_iter().chain(self.mount).chain(self.tmpfs));
        let resources = &mut spec.resources;
        resources.memory = self.memory.or(resources.memory);
        resources.cpus = self.cpus.or(resources.cpus);
        resources.processes = self.processes.or(resources.processes);
        resources.ulimits.extend(self.ulimit);
        spec.network = self.network.or(spec.network);
        spec.ports.extend(self.publish);
        spec.tty |= self.tty;
        spec.stdin |= self.stdin;
        spec.init |= self.init;
        spec.stop_signal = self.stop_signal.or(spec.stop_signal);
        spec.stop_grace = self.stop_grace.or(spec.stop_grace);
        spec.restart = self.restart.unwrap_or(spec.restart);
        let backoff = &mut spec.restart_backoff;
        if let Some((first, most)) = self.restart_backoff {
            (backoff.first, backoff.most) = (Some(first), most.or(backoff.most));
        }
        backoff.reset = self.restart_reset.or(backoff.reset);
        spec.restart_budget = self.restart_budget.or(spec.restart_budget);
        spec.auto_remove |= self.rm;
        let health_check = match self.health_cmd {
            Some(command) => Some(HealthCheck::Command(HealthCommand {
                command: vec!["sh".to_owned(), "-c".to_owned(), command],
                interval: self.health_interval,
                timeout: self.health_timeout,
                start_period: self.health_start_period,
                start_interval: self.health_start_interval,
                retries: self.health_retries,
            })),
            None => self.no_healthcheck.then_some(HealthCheck::Disabled),
        };
        spec.health_check = health_check.or(spec.health_check);
        spec.restart_unhealthy |= self.restart_unhealthy;
        let Probes { startup, readiness, liveness } = spec.probes;
        spec.probes = Probes {
            startup: self.startup.or(startup),
            readiness: self.readiness.or(readiness),
            liveness: self.liveness.or(liveness),
        };
        let logs = &mut spec.logs;
        logs.max_size = self.log_max_size.or(logs.max_size);
        logs.max_files = self.log_max_files.or(logs.max_files);
        for LogLimits { max_size, max_files } in self.log_opt {
            (logs.max_size, logs.max_files) = (max_size.or(logs.max_size), max_files.or(logs.max_files));
        }
        let mut options = pairs("--option", self.option)?
            .into_iter()
            .map(|(key, value)| (key, serde_json::from_str(&value).unwrap_or(serde_json::Value::String(value))))
            .collect::<serde_json::Map<_, _>>();
        let list = |words: Vec<String>| (!words.is_empty()).then(|| json!(words));
        let words = [
            ("--entrypoint", "entrypoint", self.entrypoint.map(|program| json!([program]))),
            ("--read-only", "read_only_root", self.read_only.then_some(true.into())),
            ("--cap-add", "add_capabilities", list(self.cap_add)),
            ("--cap-drop", "drop_capabilities", list(self.cap_drop)),
            ("--privileged", "privileged", self.privileged.then_some(true.into())),
        ];
        for (flag, key, value) in words {
            let Some(value) = value else { continue };
            if options.insert(key.to_owned(), value).is_some() {
                return Err(Failure::Usage(format!("{flag}: given as --option {key} too")));
            }
        }
        spec.options.extend(options);
        Ok(spec)
    }
}

/// The backend of the caller's environment.
pub(super) fn usual_backend() -> Result<Option<BackendName>, Failure> {
    match std::env::var("SEAWALL_BACKEND") {
        Ok(name) if name.is_empty() => Ok(None),
        Ok(name) => name.parse().map(Some).map_err(|error| Failure::Usage(format!("SEAWALL_BACKEND: {error}"))),
        Err(_) => Ok(None),
    }
}

/// A session that failed, or waits for another try, is no success.
fn outcome(session: &Session) -> Result<u8, Failure> {
    let named = format!("session {} ({})", session.name, session.id.short());
    let why = || match (&session.reason, &session.exit) {
        (Some(reason), _) => printable(reason),
        (None, Some(exit)) => exit.to_string(),
        (None, None) => "no reason is known".to_owned(),
    };
    match session.state {
        SessionState::Running | SessionState::Paused | SessionState::Stopped | SessionState::Restarting => Ok(0),
        SessionState::Failed | SessionState::Lost => {
            // A container that ran and ended, however it did, was run; what never began was not.
            if session.started_at.is_some() {
                return Ok(0);
            }
            Err(Failure::Session(format!("{named} failed: {}; `seawall rm {}` removes it", why(), session.name)))
        }
        SessionState::Pending | SessionState::Created | SessionState::Unknown => Err(Failure::Pending(format!(
            "{named} is not running yet: {}; Seawall goes on trying, `seawall rm -f {}` gives up",
            why(),
            session.name
        ))),
    }
}

/// Variables as they are given on the line.
pub(super) fn variables_of(given: Vec<String>) -> Result<BTreeMap<String, Secret>, Failure> {
    let mut env = BTreeMap::new();
    for one in given {
        let (key, value) = match one.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => match std::env::var(&one) {
                Ok(value) => (one, value),
                Err(_) => return Err(Failure::Usage(format!("--env {one}: it has no value and is not set here"))),
            },
        };
        env.insert(key, Secret::new(value));
    }
    Ok(env)
}

fn pairs(flag: &str, given: Vec<String>) -> Result<BTreeMap<String, String>, Failure> {
    let mut pairs = BTreeMap::new();
    for one in given {
        let Some((key, value)) = one.split_once('=') else {
            return Err(Failure::Usage(format!("{flag} {one}: write KEY=VALUE")));
        };
        if pairs.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::Usage(format!("{flag} {key}: given twice")));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    fn spec(line: &str) -> SessionSpec {
        Line::try_parse_from(std::iter::once("run").chain(line.split(' '))).unwrap().run.spec().unwrap()
    }

    #[test]
    fn every_flag_reaches_the_spec() {
        let spec = spec(
            "-b docker --name web --image busybox --env A=1=2 --env-from B=/run/b --label k=v --user 1:2 --workdir /w --hostname h \
             --memory 64MiB --cpus 1.5 --processes 9 --ulimit nofile=10:20 -v /srv:/data:rw -v cache:/cache \
             --mount type=bind,source=/etc,target=/c --tmpfs /tmp:1MiB --network isolated -p 127.0.0.1:8080:80/tcp -p 53/udp --restart on-failure:3 --restart-backoff 1s..1m --restart-reset 1h --restart-budget 5/10m \
             --stop-signal INT --stop-grace 3s --health-cmd true --health-start-interval 1s --health-retries 2 --restart-unhealthy \
             --startup tcp:80 --readiness http:80/ready --liveness exec:true,interval=5s --log-max-size 1MiB \
             --log-max-files 2 --tty --stdin --init --rm --entrypoint /run --read-only --cap-add NET_ADMIN --cap-drop ALL \
             --privileged --option a=[1] --option b=x -- sh -c exit",
        );
        insta::assert_json_snapshot!(spec);
    }

    #[test]
    fn a_log_is_bounded_in_docker_s_words_too() {
        let logs = |line: &str| spec(&format!("-b mock {line}")).logs;
        let docker = logs("--log-opt max-size=10m --log-opt max-file=3");
        assert_eq!(docker, logs("--log-max-size 10MiB --log-max-files 3"));
        let both = ["run", "-b", "mock", "--log-opt", "max-file=3", "--log-max-files", "3"];
        assert!(Line::try_parse_from(both).is_err_and(|error| error.to_string().contains("--log-max-files")));
    }

    #[test]
    fn flags_come_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("session.toml");
        let text = r#"
            backend = "mock"
            image = "old"
            command = ["a", "b"]
            restart = "always"
            tty = true
            ports = [{ container = 80 }]
            [env]
            A = "1"
            B = "2"
            [resources]
            memory = "64MiB"
            cpus = 2
            [options]
            x = 1
        "#;
        std::fs::write(&file, text).unwrap();
        let line = format!("-f {} --image new -e B=3 -p 81 --memory 32MiB --restart never -o y=2", file.display());
        let spec = spec(&line);
        assert_eq!((spec.backend.as_str(), spec.image.as_deref(), spec.tty), ("mock", Some("new"), true));
        assert_eq!(spec.command, ["a", "b"]);
        let env: Vec<_> = spec.env.iter().map(|(key, value)| (key.as_str(), value.reveal())).collect();
        assert_eq!(env, [("A", "1"), ("B", "3")]);
        let ports: Vec<_> = spec.ports.iter().map(|port| port.container).collect();
        assert_eq!((ports, spec.restart), (vec![80, 81], RestartPolicy::Never));
        assert_eq!(spec.resources.memory, Some("32MiB".parse().unwrap()));
        assert_eq!(spec.resources.cpus, Some("2".parse().unwrap()));
        assert_eq!(serde_json::Value::Object(spec.options), json!({"x": 1, "y": 2}));
    }

    #[test]
    fn an_option_cannot_be_given_in_two_ways() {
        let line = ["run", "-b", "mock", "--privileged", "--option", "privileged=false"];
        let refused = Line::try_parse_from(line).unwrap().run.spec().unwrap_err();
        assert!(refused.to_string().contains("--privileged"), "{refused}");
    }
}
