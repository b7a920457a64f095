//! What is so, whatever the daemon says: the engine's own list of containers and the process table. Each step of the
//! demo holds `ps` against them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use seawall_testing::workloads::Workload;
use serde::Deserialize;

/// A session, as far as the demo looks at it: part of what `seawall ps --json` prints.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) backend: String,
    pub(super) state: String,
    pub(super) incarnation: u64,
    pub(super) restarts: u64,
    pub(super) started_at: Option<serde_json::Value>,
}

impl Session {
    /// Which workload it is: one start of one session.
    pub(super) fn workload(&self) -> Workload {
        Workload { session: self.id.clone(), incarnation: self.incarnation }
    }

    /// It runs.
    pub(super) fn runs(&self) -> bool {
        self.state == "running"
    }
}

/// A container of the private engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) running: bool,
}

/// The columns that [`containers`] reads.
pub(super) const PS_FORMAT: &str = "{{.ID}}\t{{.Names}}\t{{.State}}";

/// Reads the answer of `docker ps --all --no-trunc --format` with [`PS_FORMAT`]. Every container of the engine must be a
/// workload, since the engine is ours alone.
pub(super) fn containers(ps: &str) -> Result<BTreeMap<Workload, Container>> {
    let mut found = BTreeMap::new();
    for line in ps.lines() {
        let mut columns = line.split('\t');
        let (id, name, state) = (columns.next(), columns.next(), columns.next());
        let (id, name, state) = id.zip(name).zip(state).map(|((i, n), s)| (i, n, s)).context("read docker ps")?;
        let workload =
            Workload::of_container(name).with_context(|| format!("container {name:?} is none of Seawall's"))?;
        let container = Container { id: id.to_owned(), name: name.to_owned(), running: state == "running" };
        ensure!(found.insert(workload, container).is_none(), "two containers for one workload: {name}");
    }
    Ok(found)
}

/// Holds what `ps` says of one backend against what really runs: exactly the running sessions do.
pub(super) fn agree(sessions: &[Session], backend: &str, really: BTreeSet<Workload>) -> Result<usize> {
    let said: BTreeSet<_> =
        sessions.iter().filter(|session| session.backend == backend && session.runs()).map(Session::workload).collect();
    let show = |set: Vec<&Workload>| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    ensure!(
        said == really,
        "`ps` and the truth of backend {backend} differ: only in ps [{}], only in truth [{}]",
        show(said.difference(&really).collect()),
        show(really.difference(&said).collect()),
    );
    Ok(said.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(session: &str, incarnation: u64) -> Workload {
        Workload { session: session.to_owned(), incarnation }
    }

    #[test]
    fn containers_are_read_by_name_and_a_strange_one_is_an_error() {
        let ps =
            "c0ffee\tseawall-01234567-0123456789abcdef-2\trunning\nbeef\tseawall-01234567-fedcba9876543210-1\texited\n";
        let found = containers(ps).unwrap();
        assert!(found[&workload("0123456789abcdef", 2)].running);
        assert!(!found[&workload("fedcba9876543210", 1)].running);
        assert!(containers("c\tforeign\trunning").is_err());
    }

    #[test]
    fn a_difference_in_either_direction_is_an_error() {
        let session = Session {
            id: "0123456789abcdef".to_owned(),
            name: "web".to_owned(),
            backend: "docker".to_owned(),
            state: "running".to_owned(),
            incarnation: 1,
            restarts: 0,
            started_at: None,
        };
        let sessions = [session];
        let same = BTreeSet::from([workload("0123456789abcdef", 1)]);
        assert_eq!(agree(&sessions, "docker", same.clone()).unwrap(), 1);
        assert!(agree(&sessions, "docker", BTreeSet::new()).is_err());
        assert!(agree(&sessions, "process", same).is_err());
    }
}
