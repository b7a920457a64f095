//! `inspect`: all that is known of a session. A field that was not asked for stands with what holds instead, where the host
//! knows that; what is the backend's to decide is said to be so.

use std::time::Duration;

use clap::Args;
use seawall_model::{
    HealthCheck, Mount, MountSource, Network, Probe, ProbeCheck, RestartBackoff, Session, SessionSpec, Signal,
    Timestamp,
};

use super::fields::{FIELDS, value};
use super::format::{facts, port, state};
use super::sessions::{health, word};
use super::template::Template;
use super::{Global, printable, say};
use crate::client::Client;
use crate::exit::Failure;

/// `inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Ids, beginnings of ids (4 digits or more), or names
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
    /// Show only these fields of each, as in {{.State}}; `seawall ps --help` lists them
    #[arg(short, long, value_name = "json|TEMPLATE", value_parser = format)]
    format: Option<Format>,
}

/// What is shown of each.
#[derive(Clone, Debug)]
enum Format {
    Json,
    Lines(Template),
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "json" => Ok(Format::Json),
        _ => Template::parse(text, FIELDS).map(Format::Lines),
    }
}

impl Inspect {
    /// Shows each in full. With `--json` one session is one object, several are an array. Those that are there are shown
    /// even if another one is not.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        let global = match self.format {
            Some(Format::Json) => &Global { json: true, ..global.clone() },
            _ => global,
        };
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for id in &self.sessions {
            match client.session(id).await {
                Ok(session) => found.push(session),
                Err(failure) => failures.push(failure),
            }
        }
        match (&self.format, self.sessions.as_slice(), found.as_slice()) {
            (Some(Format::Lines(template)), _, found) => {
                let now = Timestamp::now();
                let line = |session: &Session| template.fill(|field| value(field, session, now, false));
                say(&found.iter().map(|session| format!("{}\n", printable(&line(session)))).collect::<String>())?;
            }
            (_, [_], [session]) => global.show(session, describe)?,
            (_, [_], _) => {}
            (_, _, several) => {
                global.show(&several, |several| several.iter().map(describe).collect::<Vec<_>>().join("\n"))?;
            }
        }
        let mut failures = failures.into_iter();
        let first = failures.next();
        failures.for_each(|failure| super::report(global, &failure));
        first.map_or(Ok(0), Err)
    }
}

/// What stands where the backend decides.
const THE_BACKENDS: &str = "as the backend gives it";

fn describe(session: &Session) -> String {
    let spec = &session.spec;
    let list = |words: &[String]| (!words.is_empty()).then(|| words.join(" "));
    let many = |words: Vec<String>| (!words.is_empty()).then(|| words.join(", "));
    let given = |value: Option<String>| Some(value.unwrap_or_else(|| THE_BACKENDS.to_owned()));
    let yes = |is: bool| is.then(|| "yes".to_owned());
    let resources = &spec.resources;
    facts(&[
        ("id", Some(session.id.to_string())),
        ("name", Some(session.name.to_string())),
        ("backend", Some(session.backend.to_string())),
        ("state", Some(state(session))),
        ("reason", session.reason.clone()),
        ("desired", Some(word(&session.desired))),
        ("health", Some(health(session)).filter(|health| health != "-")),
        ("ready", Some(session.ready.to_string())),
        ("exit", session.exit.as_ref().map(ToString::to_string)),
        ("incarnation", Some(session.incarnation.to_string())),
        ("restarts", Some(session.restarts.to_string())),
        ("created", Some(session.created_at.to_string())),
        ("started", session.started_at.map(|at| at.to_string())),
        ("finished", session.finished_at.map(|at| at.to_string())),
        ("image", spec.image.clone()),
        ("command", list(&spec.command)),
        ("env", many(spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect())),
        ("env from", many(spec.env_from.iter().map(|(key, path)| format!("{key}={path}")).collect())),
        ("labels", many(spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect())),
        ("working dir", given(spec.working_dir.clone())),
        ("user", given(spec.user.clone())),
        ("hostname", spec.hostname.clone()),
        ("mounts", many(spec.mounts.iter().map(mount).collect())),
        ("memory", given(resources.memory.map(|size| size.to_string()))),
        ("cpus", given(resources.cpus.map(|cpus| cpus.to_string()))),
        ("processes", given(resources.processes.map(|processes| processes.to_string()))),
        ("ulimits", many(resources.ulimits.iter().map(|of| format!("{}={}:{}", of.name, of.soft, of.hard)).collect())),
        ("network", given(spec.network.as_ref().map(network))),
        ("ports", many(spec.ports.iter().map(port).collect())),
        ("tty", yes(spec.tty)),
        ("stdin", spec.stdin.then(|| "kept open".to_owned())),
        ("init", yes(spec.init)),
        ("stop", Some(stop(spec))),
        ("restart", Some(restart(spec))),
        ("removed", yes(spec.auto_remove).map(|_| "by itself, once it is over for good".to_owned())),
        ("health check", given(health_check(spec))),
        ("startup", spec.probes.startup.as_ref().map(probe)),
        ("readiness", spec.probes.readiness.as_ref().map(probe)),
        ("liveness", spec.probes.liveness.as_ref().map(probe)),
        ("log", given(log(spec))),
        ("options", (!spec.options.is_empty()).then(|| serde_json::to_string(&spec.options).unwrap_or_default())),
    ])
}

fn network(network: &Network) -> String {
    match network {
        Network::Named(attachments) => attachments.iter().map(|of| of.name.as_str()).collect::<Vec<_>>().join(", "),
        other => word(other),
    }
}

fn restart(spec: &SessionSpec) -> String {
    let RestartBackoff { first, most, reset } = spec.restart_backoff;
    let part = |words: &str, value: Option<Duration>| value.map(|value| format!(", {words} {}", duration(value)));
    let budget = spec.restart_budget;
    let budget = budget.map(|budget| format!(", at most {} within {}", budget.restarts, duration(budget.within)));
    let parts = [part("first after", first), part("never later than", most), part("anew after", reset), budget];
    std::iter::once(spec.restart.to_string()).chain(parts.into_iter().flatten()).collect()
}

fn stop(spec: &SessionSpec) -> String {
    let signal = spec.stop_signal.unwrap_or(Signal::TERM);
    let grace = spec.stop_grace.unwrap_or(SessionSpec::STOP_GRACE);
    format!("{signal}, KILL {} later", duration(grace))
}

fn log(spec: &SessionSpec) -> Option<String> {
    let size = spec.logs.max_size.map(|size| format!("files of {size}"));
    let files = spec.logs.max_files.map(|files| format!("{files} files"));
    let both: Vec<String> = size.into_iter().chain(files).collect();
    (!both.is_empty()).then(|| both.join(", "))
}

fn mount(mount: &Mount) -> String {
    let source = match &mount.source {
        MountSource::Bind(path) => path.clone(),
        MountSource::Volume(name) => format!("volume {name}"),
        MountSource::Tmpfs(Some(size)) => format!("memory of {size}"),
        MountSource::Tmpfs(None) => "memory".to_owned(),
    };
    let mode = if mount.read_only { "read only" } else { "read and write" };
    let options = match mount.options.is_empty() {
        true => String::new(),
        false => format!(" with {}", serde_json::to_string(&mount.options).unwrap_or_default()),
    };
    format!("{source} at {} ({mode}){options}", mount.target)
}

fn health_check(spec: &SessionSpec) -> Option<String> {
    let check = match spec.health_check.as_ref()? {
        HealthCheck::Disabled => return Some("disabled".to_owned()),
        HealthCheck::Command(check) => check,
    };
    let then = if spec.restart_unhealthy { ", restarts" } else { "" };
    let sooner = check.start_interval.map(|interval| format!(" ({} at first)", duration(interval)));
    Some(format!(
        "{}, every {}{}, within {}, {} failures after the first {}{then}",
        check.command.join(" "),
        duration(check.interval),
        sooner.unwrap_or_default(),
        duration(check.timeout),
        check.retries,
        duration(check.start_period)
    ))
}

fn probe(probe: &Probe) -> String {
    let what = match &probe.check {
        ProbeCheck::Exec(exec) => exec.command.join(" "),
        ProbeCheck::Http(http) => format!("http {}{}", http.port, http.path),
        ProbeCheck::Tcp(tcp) => format!("tcp {}", tcp.port),
    };
    format!(
        "{what}, every {}, within {}, {} failures or {} successes in a row, after the first {}",
        duration(probe.interval),
        duration(probe.timeout),
        probe.failure_threshold,
        probe.success_threshold,
        duration(probe.initial_delay)
    )
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::session;
    use super::*;

    #[test]
    fn inspect_leaves_out_what_is_not_there() {
        insta::assert_snapshot!(describe(&session(|session| session.reason = Some("why\x1b[0m".to_owned()))));
    }

    #[test]
    fn inspect_shows_every_field_that_was_asked_for() {
        let spec = serde_json::json!({
            "backend": "docker", "name": "web", "image": "busybox", "command": ["sleep", "1"], "labels": {"a": "b"},
            "env": {"TOKEN": "[redacted]"}, "env_from": {"KEY": "/run/key"}, "working_dir": "/w", "user": "1:2", "hostname": "h",
            "mounts": [{"source": {"bind": "/srv"}, "target": "/data"}, {"source": {"tmpfs": "1MiB"}, "target": "/t"}],
            "resources": {"memory": "64MiB", "cpus": 1.5, "processes": 9,
                          "ulimits": [{"name": "nofile", "soft": 1, "hard": 2}]},
            "network": "isolated", "ports": [{"container": 80, "host": 8080}], "tty": true, "stdin": true, "init": true,
            "stop_signal": "SIGINT", "stop_grace": "3s", "restart": "on-failure:2",
            "restart_backoff": {"first": "1s", "most": "1m", "reset": "1h"},
            "restart_budget": {"restarts": 5, "within": "10m"}, "auto_remove": true,
            "health_check": {"command": {"command": ["true"]}}, "restart_unhealthy": true,
            "probes": {"liveness": {"check": {"tcp": {"port": 80}}}}, "logs": {"max_size": "1MiB", "max_files": 2},
            "options": {"privileged": true},
        });
        insta::assert_snapshot!(describe(&session(|session| session.spec = serde_json::from_value(spec).unwrap())));
    }
}
