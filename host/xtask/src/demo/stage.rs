//! Where the demo plays: a private engine, a private daemon, and the end of both.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use seawall_testing::daemon::{Daemon, Home};
use seawall_testing::docker::Engine;
use seawall_testing::interrupt::Interrupt;
use seawall_testing::processes::Process;
use seawall_testing::workloads::{self, Workload};

use super::facts::{self, Container, Session};
use crate::say;

/// The engine, the daemon's home and the daemon, if one runs. Dropped in this order: daemon, home with every process in
/// it, engine with every container.
pub(super) struct Stage {
    daemon: Option<Daemon>,
    pub(super) home: Home,
    engine: Option<Engine>,
    pub(super) interrupt: Interrupt,
    /// Every control group that a process session was seen in.
    groups: RefCell<BTreeSet<PathBuf>>,
}

/// What one session really is at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    incarnation: u64,
    started_at: Option<String>,
    /// Pid and start time, or the engine's id; nothing where only the backend knows.
    really: Option<String>,
}

impl Identity {
    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Another workload than it was.
    pub(super) fn differs_really(&self, other: &Self) -> bool {
        self.incarnation != other.incarnation || self.really != other.really
    }
}

/// For filters: the session runs.
pub(super) fn runs(session: &Session) -> bool {
    session.runs()
}

impl Stage {
    pub(super) fn new(home: Home, engine: Option<Engine>, interrupt: Interrupt) -> Self {
        Self { daemon: None, home, engine, interrupt, groups: RefCell::default() }
    }

    pub(super) fn has_docker(&self) -> bool {
        self.engine.is_some()
    }

    /// Starts a daemon and says how long it took until every backend had been asked.
    pub(super) fn serve(&mut self) -> Result<()> {
        self.interrupt.check()?;
        say::command("seawall serve &");
        let daemon = self.home.serve(true)?;
        say::output(&format!("serves after {}, pid {}", say::duration(daemon.ready_after()), daemon.pid()));
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The daemon that runs.
    pub(super) fn take_daemon(&mut self) -> Result<Daemon> {
        self.daemon.take().context("no daemon runs")
    }

    /// Runs `seawall` and shows both the command and what it printed.
    pub(super) fn show(&self, arguments: &[&str]) -> Result<String> {
        self.interrupt.check()?;
        say::command(&typed("seawall", arguments));
        let text = self.home.ok(arguments)?;
        say::output(&text);
        Ok(text)
    }

    /// Runs the docker command against the private engine.
    pub(super) fn docker(&self, arguments: &[&str]) -> Result<String> {
        self.engine.as_ref().context("there is no engine")?.docker(arguments)
    }

    /// `ps --all --json`.
    pub(super) fn sessions(&self) -> Result<Vec<Session>> {
        let json = self.home.json(&["ps", "--all"])?;
        serde_json::from_value(json).context("understand `seawall ps --json`")
    }

    /// The session of this name.
    pub(super) fn session(&self, name: &str) -> Result<Session> {
        let found = self.sessions()?.into_iter().find(|session| session.name == name);
        found.with_context(|| format!("`ps` has no session {name}"))
    }

    /// Every container of the engine.
    pub(super) fn containers(&self) -> Result<BTreeMap<Workload, Container>> {
        if self.engine.is_none() {
            return Ok(BTreeMap::new());
        }
        facts::containers(&self.docker(&["ps", "--all", "--no-trunc", "--format", facts::PS_FORMAT])?)
    }

    /// The first process of each process session.
    pub(super) fn processes(&self) -> BTreeMap<Workload, Process> {
        let found = workloads::processes(self.home.dir());
        self.groups.borrow_mut().extend(found.values().flat_map(Process::control_groups));
        found
    }

    /// Holds `ps --json` against `docker ps` and the process table.
    ///
    /// A difference may be one of time: the daemon sees an end at its next look. So it must vanish within seconds.
    pub(super) fn agreement(&self) -> Result<()> {
        let mut difference = None;
        let agreed = self.interrupt.wait_for("agreement", Duration::from_secs(15), || {
            let sessions = self.sessions()?;
            let containers = self.containers()?.into_iter().filter(|(_, container)| container.running);
            let containers: BTreeSet<_> = containers.map(|(workload, _)| workload).collect();
            let processes: BTreeSet<_> = self.processes().into_keys().collect();
            let both = facts::agree(&sessions, "docker", containers)
                .and_then(|docker| Ok((docker, facts::agree(&sessions, "process", processes)?)));
            match both {
                Ok(counts) => Ok(Some(counts)),
                Err(error) => {
                    difference = Some(error);
                    Ok(None)
                }
            }
        });
        let (containers, processes) = match (agreed, difference) {
            (Ok(counts), _) => counts,
            (Err(error), Some(difference)) => return Err(difference.context(error)),
            (Err(error), None) => return Err(error),
        };
        say::holds(format_args!(
            "`ps --json` agrees with docker ps ({}) and the process table ({})",
            count(containers, "container"),
            count(processes, "process")
        ));
        Ok(())
    }

    /// What each session is now: its incarnation, since when, and which process or container that is.
    pub(super) fn identities(&self) -> Result<BTreeMap<String, Identity>> {
        let (containers, processes) = (self.containers()?, self.processes());
        let identity = |session: Session| {
            let workload = session.workload();
            let container = containers.get(&workload).map(|container| container.id.clone());
            let process = processes.get(&workload).map(|process| format!("{} {}", process.pid, process.started));
            let started_at = session.started_at.map(|at| at.to_string());
            (session.name, Identity { incarnation: session.incarnation, started_at, really: container.or(process) })
        };
        Ok(self.sessions()?.into_iter().map(identity).collect())
    }

    /// Ends whatever still runs and proves that nothing is left of it.
    pub(super) fn clear_away(mut self) -> Result<()> {
        drop(self.daemon.take());
        let left = self.home.processes();
        ensure!(left.is_empty(), "processes are left: {left:?}");
        let containers = self.containers()?;
        ensure!(containers.is_empty(), "containers are left: {containers:?}");
        let groups = self.groups.borrow().iter().filter(|group| group.exists()).cloned().collect::<Vec<_>>();
        ensure!(groups.is_empty(), "control groups are left: {groups:?}");
        say::holds("no session process, no supervisor, no control group and no container is left");

        let mut gone: Vec<PathBuf> = vec![self.home.dir().to_path_buf()];
        let mut mounted = Vec::new();
        if let Some(engine) = self.engine.take() {
            gone.push(engine.dir().to_path_buf());
            mounted.push(engine.dir().to_path_buf());
            drop(engine);
        }
        drop(self);
        for dir in &gone {
            ensure!(!dir.exists(), "{} is left", dir.display());
        }
        let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
        for dir in &mounted {
            let dir = dir.to_string_lossy();
            ensure!(!mounts.contains(dir.as_ref()), "something is still mounted in {dir}");
        }
        for dir in &mounted {
            let left = seawall_testing::docker::named_after(dir);
            ensure!(left.is_empty(), "of the private Docker Engine there are left: {left:?}");
        }
        let gone: Vec<_> = gone.iter().map(|dir| dir.display().to_string()).collect();
        say::holds(format_args!("removed: {}", gone.join(", ")));
        Ok(())
    }
}

/// A command line as one would type it.
pub(super) fn typed(program: &str, arguments: &[&str]) -> String {
    let mut line = program.to_owned();
    for argument in arguments {
        let plain =
            !argument.is_empty() && argument.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=,@{}%".contains(&b));
        line.push(' ');
        if plain {
            line.push_str(argument);
        } else {
            line.push_str(&format!("'{}'", argument.replace('\'', r"'\''")));
        }
    }
    line
}

fn count(number: usize, what: &str) -> String {
    let plural = match what {
        _ if number == 1 => "",
        "process" => "es",
        _ => "s",
    };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed() {
        assert_eq!(typed("seawall", &["run", "--", "sh", "-c", "echo 'a'"]), r"seawall run -- sh -c 'echo '\''a'\'''");
        assert_eq!(count(1, "process"), "1 process");
        assert_eq!(count(2, "process"), "2 processes");
    }
}
