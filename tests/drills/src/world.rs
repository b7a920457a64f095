//! What is there, whatever the daemon says: containers by the engine's own list, run directories, supervisors, processes
//! and control groups by the kernel's, the mock's workloads by what it stored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use seawall_store::{Snapshot, StateQuota, Store};
use seawall_testing::docker::Engine;
use seawall_testing::workloads::{self, Workload};
use serde_json::Value;

use crate::stage::Stage;

/// A workload that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Real {
    pub(crate) backend: &'static str,
    pub(crate) workload: Workload,
    pub(crate) runs: bool,
}

/// What the store has, read while no daemon runs.
pub(crate) struct Kept {
    pub(crate) snapshot: Snapshot,
    pub(crate) store: String,
    mock: Vec<Real>,
}

impl Kept {
    /// For tests of what is made of it.
    #[cfg(test)]
    pub(crate) fn of(snapshot: Snapshot) -> Self {
        Self { snapshot, store: String::new(), mock: Vec::new() }
    }

    /// Reads the store of a daemon that has ended.
    pub(crate) fn read(stage: &Stage) -> Result<Self> {
        ensure!(!stage.serves(), "a daemon runs");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let store = Store::open(&stage.home.data_dir()).await.context("open the store")?;
            let read = async {
                let snapshot = store.load().await.context("read the sessions")?;
                let state =
                    store.state(&"mock".parse()?, StateQuota::default()).await.context("read the mock's state")?;
                let (mut mock, mut after) = (Vec::new(), None);
                loop {
                    let page = state.scan("w/", after.as_deref(), 1000).context("read the mock's workloads")?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.key.clone());
                    for entry in &page {
                        mock.push(mock_workload(&entry.key, &entry.value)?);
                    }
                }
                Ok(Self { snapshot, store: store.id().to_string(), mock })
            };
            let read = read.await;
            store.close().await;
            read
        })
    }
}

/// The mock keeps `w/SESSION/INCARNATION`, the number in hexadecimal; of the value the second byte has flags: 1 << 4
/// for started, 1 << 5 for killed. Those that end by themselves (1 << 0) are left to the daemon to judge.
fn mock_workload(key: &str, value: &[u8]) -> Result<Real> {
    let parts = key.strip_prefix("w/").and_then(|key| key.split_once('/'));
    let (session, incarnation) = parts.with_context(|| format!("{key:?} is no workload of the mock"))?;
    let incarnation = u64::from_str_radix(incarnation, 16).with_context(|| format!("{key:?} has no number"))?;
    let flags = value.get(1).with_context(|| format!("the mock's {key:?} is empty"))?;
    let runs = flags & (1 << 4) != 0 && flags & (1 << 5 | 1) == 0;
    Ok(Real { backend: "mock", workload: Workload { session: session.to_owned(), incarnation }, runs })
}

/// Everything that is there.
pub(crate) struct World {
    pub(crate) workloads: Vec<Real>,
    /// Processes without a supervisor, supervisors and control groups without a run directory.
    pub(crate) strays: Vec<String>,
}

impl World {
    /// Looks at what the mock does not keep in the store.
    pub(crate) fn look(stage: &Stage) -> Result<Self> {
        let mut world = Self { workloads: Vec::new(), strays: Vec::new() };
        if let Some(engine) = &stage.engine {
            world.workloads.extend(containers(engine)?);
        }
        world.processes(stage)?;
        Ok(world)
    }

    /// Looks at everything, with no daemon there.
    pub(crate) fn with(stage: &Stage, kept: &Kept) -> Result<Self> {
        let mut world = Self::look(stage)?;
        world.workloads.extend(kept.mock.iter().cloned());
        let known: BTreeSet<String> = world
            .workloads
            .iter()
            .filter(|real| real.backend == "process")
            .map(|real| real.workload.session.clone())
            .collect();
        let owned = |name: &str| known.iter().any(|session| name.contains(session));
        for (group, name) in control_groups(&kept.store) {
            // The group above them all goes with the last of them.
            if !owned(&name) && (name != group_of(&kept.store) || known.is_empty()) {
                world.strays.push(format!("the control group {}", group.display()));
            }
        }
        Ok(world)
    }

    /// Workloads of one session that run at this moment, more than one.
    pub(crate) fn twice(&self) -> Vec<String> {
        let mut running: Vec<_> = self.workloads.iter().filter(|real| real.runs).collect();
        running.sort_by(|a, b| a.workload.cmp(&b.workload));
        let pairs = running.windows(2).filter_map(|pair| match pair {
            [a, b] if a.workload.session == b.workload.session => {
                Some(format!("{} and {} run at the same time on {}", a.workload, b.workload, a.backend))
            }
            _ => None,
        });
        pairs.collect()
    }

    fn processes(&mut self, stage: &Stage) -> Result<()> {
        // In this order: a supervisor that ends in between leaves its run directory.
        let supervisors = workloads::supervisors(stage.home.dir());
        let directories = run_directories(&stage.home.data_dir().join("runs"))?;
        for (workload, process) in &supervisors {
            if !directories.contains(workload) && process.still_runs() {
                self.strays.push(format!("supervisor {} of {workload}, whose run directory is gone", process.pid));
            }
        }
        let real =
            |workload: Workload| Real { runs: supervisors.contains_key(&workload), backend: "process", workload };
        self.workloads.extend(directories.into_iter().map(real));

        let all = stage.home.processes();
        let mut owned: BTreeSet<i32> = supervisors.values().map(|process| process.pid).collect();
        owned.extend(stage.daemon_pid());
        loop {
            let children = all.iter().filter(|process| owned.contains(&process.parent)).map(|process| process.pid);
            let children: Vec<i32> = children.filter(|pid| !owned.contains(pid)).collect();
            if children.is_empty() {
                break;
            }
            owned.extend(children);
        }
        let strays = all.iter().filter(|process| !owned.contains(&process.pid) && process.still_runs());
        self.strays.extend(strays.map(|process| format!("process {} {:?} has no owner", process.pid, process.command)));
        Ok(())
    }
}

/// The containers with a stamp under its own name. Strangers' are none of ours, whatever labels they carry.
fn containers(engine: &Engine) -> Result<Vec<Real>> {
    let answer = seawall_testing::http::request(&engine.socket(), "GET", "/containers/json?all=true", None)
        .context("list the containers")?;
    ensure!(answer.status == 200, "the engine answered {}: {}", answer.status, answer.text());
    let list: Vec<Value> = serde_json::from_slice(&answer.body).context("understand the list of containers")?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for container in list {
        let labels = container.get("Labels").cloned().unwrap_or_default();
        let name = text(container.get("Names").and_then(|names| names.get(0)));
        let Some(workload) = Workload::of_container(name.trim_start_matches('/')) else { continue };
        if text(labels.get("seawall.session")) == workload.session {
            let runs = !["created", "exited", "dead"].contains(&text(container.get("State")).as_str());
            found.push(Real { backend: "docker", workload, runs });
        }
    }
    Ok(found)
}

fn run_directories(runs: &Path) -> Result<BTreeSet<Workload>> {
    let mut found = BTreeSet::new();
    let Ok(sessions) = std::fs::read_dir(runs) else { return Ok(found) };
    for session in sessions {
        let session = session.context("read the run directories")?;
        // It may be removed meanwhile.
        for run in std::fs::read_dir(session.path()).into_iter().flatten().flatten() {
            found.extend(Workload::of_run_directory(&run.path().to_string_lossy()));
        }
    }
    Ok(found)
}

/// What is left in the directory of run directories, files and empty directories too.
pub(crate) fn left_in_runs(stage: &Stage) -> Vec<String> {
    let entries = std::fs::read_dir(stage.home.data_dir().join("runs")).into_iter().flatten().flatten();
    entries.map(|entry| format!("{} in the run directories", entry.file_name().display())).collect()
}

fn group_of(store: &str) -> String {
    format!("seawall-{store}")
}

/// The control groups of this store, wherever in the hierarchies they lie, with their names.
fn control_groups(store: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut places = vec![(PathBuf::from("/sys/fs/cgroup"), false)];
    while let Some((place, ours)) = places.pop() {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                let ours = ours || name == group_of(store);
                if ours {
                    found.push((entry.path(), name));
                }
                places.push((entry.path(), ours));
            }
        }
    }
    found
}
