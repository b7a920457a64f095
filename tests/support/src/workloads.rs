//! Which workload a container or a process is, by what the engine and the process table show of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::processes::{self, Process};

/// One start of one session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// The session's id.
    pub session: String,
    /// Which start.
    pub incarnation: u64,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session, self.incarnation)
    }
}

impl Workload {
    /// Of a container's name, `seawall-STORE-SESSION-INCARNATION`.
    pub fn of_container(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("seawall-")?.splitn(3, '-');
        let (_store, session, incarnation) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { session: session.to_owned(), incarnation: incarnation.parse().ok()? })
    }

    /// Of a run directory, `.../runs/SESSION/INCARNATION`.
    pub fn of_run_directory(path: &str) -> Option<Self> {
        let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
        let (incarnation, session) = (parts.next()?.parse().ok()?, parts.next()?);
        let is_id = session.len() == 16 && session.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| Self { session: session.to_owned(), incarnation })
    }

    /// Of a supervisor, whose argument is its run directory.
    pub fn of_supervisor(process: &Process) -> Option<Self> {
        let mut arguments = process.command.iter().skip(1).filter(|_| is_supervisor(process));
        arguments.find_map(|argument| Self::of_run_directory(argument))
    }
}

/// It is a supervisor, or one that is about to become the program of its session.
pub fn is_supervisor(process: &Process) -> bool {
    process.command.first().is_some_and(|program| program.ends_with("seawall-supervisor"))
}

/// The living supervisors of this directory.
pub fn supervisors(dir: &Path) -> BTreeMap<Workload, Process> {
    let all = processes::belonging_to(dir).into_iter();
    all.filter_map(|process| Some((Workload::of_supervisor(&process)?, process))).collect()
}

/// The first process of each process session that runs under supervisors of this directory.
pub fn processes(dir: &Path) -> BTreeMap<Workload, Process> {
    let all = processes::belonging_to(dir);
    let supervised = |process: &Process| {
        let parent = all.iter().find(|parent| parent.pid == process.parent)?;
        // A supervisor that prepares the program is not yet the program.
        Workload::of_supervisor(parent).filter(|_| !is_supervisor(process))
    };
    let mut found: BTreeMap<Workload, Process> = BTreeMap::new();
    for process in &all {
        if let Some(workload) = supervised(process) {
            let first = found.entry(workload).or_insert_with(|| process.clone());
            if process.started < first.started {
                first.clone_from(process);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_known_by_the_name_of_its_container_or_of_its_run_directory() {
        let workload = Workload { session: "0123456789abcdef".to_owned(), incarnation: 3 };
        assert_eq!(Workload::of_container("seawall-01234567-0123456789abcdef-3"), Some(workload.clone()));
        assert_eq!(Workload::of_container("foreign"), None);
        let process = |command: &[&str]| Process {
            pid: 1,
            parent: 0,
            state: 'S',
            started: 1,
            command: command.iter().map(|part| (*part).to_owned()).collect(),
        };
        let supervisor = process(&["/t/seawall-supervisor", "/tmp/x/data/runs/0123456789abcdef/3"]);
        assert_eq!(Workload::of_supervisor(&supervisor), Some(workload));
        assert_eq!(Workload::of_supervisor(&process(&["sh", "/tmp/x/data/runs/0123456789abcdef/3"])), None);
        assert_eq!(Workload::of_supervisor(&process(&["/t/seawall-supervisor", "/tmp/3"])), None);
    }
}
