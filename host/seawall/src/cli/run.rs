//! `seawall run`: flags into a session's spec.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use seawall_model::{
    BackendName, Cpus, HealthCheck, HealthCommand, LogLimits, Mount, MountSource, Network, Port, Probe, Probes,
    Protocol, Resources, RestartPolicy, Secret, Session, SessionName, SessionSpec, SessionState, Signal, Size, Ulimit,
};

use super::probe::probe;
use super::{Global, printable, say};
use crate::api::Until;
use crate::client::{Client, POLL};
use crate::exit::Failure;

/// Flags of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The backend that runs it; `seawall backend ls` lists them
    #[arg(short, long, env = "SEAWALL_BACKEND")]
    backend: BackendName,
    /// Its name; made of its id if there is none
    #[arg(short, long)]
    name: Option<SessionName>,
    /// The image, for backends that have images
    #[arg(short, long)]
    image: Option<String>,
    /// A variable; without a value it is the caller's own
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
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
    #[arg(long, value_name = "NUMBER")]
    processes: Option<u32>,
    /// A limit of its first process, such as nofile=1024 or nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = ulimit)]
    ulimit: Vec<Ulimit>,
    /// Something to mount: /host/path:/target[:rw], volume:/target[:rw]
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro|rw]", value_parser = volume)]
    volume: Vec<Mount>,
    /// Memory to mount
    #[arg(long, value_name = "TARGET[:SIZE]", value_parser = tmpfs)]
    tmpfs: Vec<Mount>,
    /// Its network
    #[arg(long, value_name = "internet|isolated|host", value_parser = network)]
    network: Option<Network>,
    /// A port to publish: 8080:80, 127.0.0.1:8080:80/tcp, or 80 for any free port of the host
    #[arg(short, long, value_name = "[[ADDRESS:]HOST:]PORT[/PROTOCOL]", value_parser = port)]
    publish: Vec<Port>,
    /// What happens when it ends by itself
    #[arg(long, value_name = "never|on-failure[:N]|always", default_value_t)]
    restart: RestartPolicy,
    /// What a polite stop begins with
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<Signal>,
    /// How long after the stop signal it is killed
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
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
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Keep its standard input open
    #[arg(long)]
    stdin: bool,
    /// A small init as its first process
    #[arg(long)]
    init: bool,
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
        let spec = self.spec()?;
        let hold = timeout.map_or(POLL, |timeout| timeout.min(POLL));
        let query = [("wait", (!no_wait).to_string()), ("timeout", format!("{}ms", hold.as_millis()))];
        let mut session: Session = client.post(&["sessions"], &query, &spec).await?;
        if !no_wait && !Until::Settled.holds(&session) {
            let timeout = timeout.map(|timeout| timeout.saturating_sub(hold));
            session = match client.wait(session.id.as_str(), Until::Settled, timeout).await? {
                Some(session) => session,
                None => return Err(Failure::Session(format!("session {} was removed meanwhile", session.id))),
            };
        }
        if global.json {
            global.show(&session, |_| String::new())?;
        } else {
            say(&format!("{}\n", session.id))?;
        }
        if no_wait { Ok(0) } else { outcome(&session) }
    }

    fn spec(self) -> Result<SessionSpec, Failure> {
        let mut spec = SessionSpec::new(self.backend);
        spec.name = self.name;
        spec.labels = pairs("--label", self.label)?;
        spec.image = self.image;
        spec.command = self.command;
        spec.env = env(self.env)?;
        spec.working_dir = self.workdir;
        spec.user = self.user;
        spec.hostname = self.hostname;
        spec.mounts = self.volume.into_iter().chain(self.tmpfs).collect();
        spec.resources =
            Resources { memory: self.memory, cpus: self.cpus, processes: self.processes, ulimits: self.ulimit };
        spec.network = self.network;
        spec.ports = self.publish;
        spec.tty = self.tty;
        spec.stdin = self.stdin;
        spec.init = self.init;
        spec.stop_signal = self.stop_signal;
        spec.stop_grace = self.stop_grace;
        spec.restart = self.restart;
        spec.health_check = match self.health_cmd {
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
        spec.restart_unhealthy = self.restart_unhealthy;
        spec.probes = Probes { startup: self.startup, readiness: self.readiness, liveness: self.liveness };
        spec.logs = LogLimits { max_size: self.log_max_size, max_files: self.log_max_files };
        for (key, value) in pairs("--option", self.option)? {
            let value = serde_json::from_str(&value).unwrap_or(serde_json::Value::String(value));
            spec.options.insert(key, value);
        }
        Ok(spec)
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

fn env(given: Vec<String>) -> Result<BTreeMap<String, Secret>, Failure> {
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

fn ulimit(text: &str) -> Result<Ulimit, String> {
    let refuse = || format!("{text:?} is no limit: write nofile=1024 or nofile=1024:4096");
    let (name, limits) = text.split_once('=').ok_or_else(refuse)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Ok(Ulimit {
        name: name.to_owned(),
        soft: soft.parse().map_err(|_| refuse())?,
        hard: hard.parse().map_err(|_| refuse())?,
    })
}

fn volume(text: &str) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, read_only) = match parts.as_slice() {
        [source, target] => (*source, *target, true),
        [source, target, "ro"] => (*source, *target, true),
        [source, target, "rw"] => (*source, *target, false),
        _ => return Err(format!("{text:?} is no mount: write SOURCE:TARGET, and :rw to write to it")),
    };
    let source = if source.starts_with('/') {
        MountSource::Bind(source.to_owned())
    } else if source.is_empty() {
        return Err(format!("{text:?} has no source"));
    } else {
        MountSource::Volume(source.to_owned())
    };
    Ok(Mount::new(source, target, read_only))
}

fn tmpfs(text: &str) -> Result<Mount, String> {
    let (target, size) = match text.split_once(':') {
        Some((target, size)) => (target, Some(size.parse()?)),
        None => (text, None),
    };
    Ok(Mount::new(MountSource::Tmpfs(size), target, false))
}

fn network(text: &str) -> Result<Network, String> {
    match text {
        "internet" => Ok(Network::Internet),
        "isolated" => Ok(Network::Isolated),
        "host" => Ok(Network::Host),
        _ => Err(format!("{text:?} is no network: write internet, isolated or host")),
    }
}

fn port(text: &str) -> Result<Port, String> {
    let refuse = || format!("{text:?} is no port: write 80, 8080:80 or 127.0.0.1:8080:80/tcp");
    let (ports, protocol) = match text.rsplit_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return Err(refuse()),
    };
    let number = |text: &str| u16::from_str(text).ok().filter(|port| *port != 0).ok_or_else(refuse);
    let (rest, container) = match ports.rsplit_once(':') {
        None => return Ok(Port { container: number(ports)?, host: None, address: None, protocol }),
        Some((rest, container)) => (rest, number(container)?),
    };
    let (address, host) = match rest.rsplit_once(':') {
        None => (None, rest),
        Some((address, host)) => {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            (Some(address.parse().map_err(|_| refuse())?), host)
        }
    };
    let host = if host.is_empty() && address.is_some() { None } else { Some(number(host)?) };
    Ok(Port { container, host, address, protocol })
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
            "-b docker --name web --image busybox --env A=1=2 --label k=v --user 1:2 --workdir /w --hostname h \
             --memory 64MiB --cpus 1.5 --processes 9 --ulimit nofile=10:20 -v /srv:/data:rw -v cache:/cache \
             --tmpfs /tmp:1MiB --network isolated -p 127.0.0.1:8080:80/tcp -p 53/udp --restart on-failure:3 \
             --stop-signal INT --stop-grace 3s --health-cmd true --health-start-interval 1s --health-retries 2 --restart-unhealthy \
             --startup tcp:80 --readiness http:80/ready --liveness exec:true,interval=5s --log-max-size 1MiB \
             --log-max-files 2 --tty --stdin --init --option a=[1] --option b=x -- sh -c exit",
        );
        insta::assert_json_snapshot!(spec);
    }

    #[test]
    fn wrong_values_say_what_to_write() {
        for (said, wrong) in [
            (ulimit("nofile").unwrap_err(), "nofile=1024"),
            (volume("/a").unwrap_err(), "SOURCE:TARGET"),
            (volume(":/a").unwrap_err(), "no source"),
            (port("0").unwrap_err(), "8080:80"),
            (port("80/sctp").unwrap_err(), "8080:80"),
            (port("x:1:2").unwrap_err(), "8080:80"),
            (network("lan").unwrap_err(), "isolated"),
        ] {
            assert!(said.contains(wrong), "{said}");
        }
        assert_eq!(port("[::1]::80").unwrap().host, None);
    }
}
