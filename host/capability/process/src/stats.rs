//! What sessions use: from the files of their control groups and, for what these do not count, from the process table.
//!
//! A tree without a group is found by its parents, beginning with its supervisor. Processor time of what has ended is
//! counted by whoever waited for it, so that nothing is lost but with a parent that never waits. Networks are the machine's
//! own, and are not told.

use std::collections::HashMap;
use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use seawall_backend::Error;
use seawall_model::{Incarnation, Key, Measurement, SessionId, Timestamp, Transfer, Usage};
use seawall_supervisor::cgroup::Plan;
use seawall_supervisor::lock;

use crate::Process;
use crate::process::Inner;
use crate::runs::{self, Phase};

/// Limits above this are the kernel's word for none.
const NO_LIMIT: u64 = 1 << 60;

impl Process {
    /// What each uses now; what does not run is left out.
    ///
    /// # Errors
    /// `Unavailable` when the run directories cannot be read.
    pub async fn stats(&self, keys: &[Key]) -> Result<Vec<Measurement>, Error> {
        let keys: Vec<_> = keys.iter().map(|key| (key.session.clone(), key.incarnation)).collect();
        self.blocking(move |inner| {
            // Read at most once for all of them.
            let mut table = None;
            let mut measured = Vec::with_capacity(keys.len());
            for (position, (session, incarnation)) in keys.iter().enumerate() {
                match inner.usage(session, *incarnation, &mut table) {
                    Ok(Some(usage)) => measured.push(Measurement { position, usage }),
                    Ok(None) => {}
                    // The others do not suffer for it.
                    Err(error) => tracing::warn!(%session, incarnation, %error, "a process cannot be measured"),
                }
            }
            Ok(measured)
        })
        .await
    }
}

impl Inner {
    /// `None` if it does not run.
    fn usage(
        &self,
        session: &SessionId,
        incarnation: Incarnation,
        table: &mut Option<Table>,
    ) -> Result<Option<Usage>, Error> {
        let Some(run) = self.find(session, incarnation)? else { return Ok(None) };
        let Phase::Running(Some(_)) = self.settle(&run)?.0 else { return Ok(None) };
        let unreadable = |error| runs::unreadable(run.dir.path(), &error);
        let plan = run.program().map_err(unreadable)?.cgroup;
        let supervisor = lock::holder(&run.dir.lock()).map_err(unreadable)?.map(|pid| pid.as_raw_pid());
        let group = Grouped::of(&plan);
        let tree = || table.get_or_insert_with(Table::read).tree(&plan, supervisor);
        Ok(Some(group.and(Timestamp::now(), tree)))
    }
}

/// What the control groups of a session count.
#[derive(Debug, Default, PartialEq)]
struct Grouped {
    cpu_time: Option<u64>,
    memory: Option<u64>,
    memory_limit: Option<u64>,
    processes: Option<u64>,
    processes_limit: Option<u64>,
    disk: Option<Transfer>,
}

impl Grouped {
    fn of(plan: &Plan) -> Self {
        let number = |file: &str| text(plan, file)?.trim().parse::<u64>().ok();
        let limit = |file: &str| number(file).filter(|limit| *limit < NO_LIMIT);
        // The file of version 1 has the same name and says nothing of this.
        let unified = text(plan, "cpu.stat").and_then(|stat| value(&stat, "usage_usec"));
        let memory = |used: Option<u64>, key: &str| {
            let cache = text(plan, "memory.stat").and_then(|stat| value(&stat, key)).unwrap_or_default();
            used.map(|used| used.saturating_sub(cache))
        };
        Self {
            cpu_time: unified.map(|micros| micros.saturating_mul(1000)).or_else(|| number("cpuacct.usage")),
            memory: memory(number("memory.current"), "inactive_file")
                .or_else(|| memory(number("memory.usage_in_bytes"), "total_inactive_file")),
            memory_limit: limit("memory.max").or_else(|| limit("memory.limit_in_bytes")),
            processes: number("pids.current"),
            processes_limit: limit("pids.max"),
            disk: text(plan, "io.stat").map(|stat| disk(&stat)),
        }
    }

    /// With what the process table has to say where the groups do not count.
    fn and(self, at: Timestamp, tree: impl FnOnce() -> Tree) -> Usage {
        let counted = self.cpu_time.is_some() && self.memory.is_some() && self.processes.is_some();
        let tree = if counted { Tree::default() } else { tree() };
        Usage {
            at,
            cpu_time: self.cpu_time.or(Some(tree.cpu_time)),
            memory: self.memory.or(Some(tree.memory)),
            memory_limit: self.memory_limit,
            processes: self.processes.or(Some(tree.tasks)),
            processes_limit: self.processes_limit,
            network: None,
            disk: self.disk,
        }
    }
}

/// A file of the first of the session's own groups that has it.
fn text(plan: &Plan, file: &str) -> Option<String> {
    plan.groups.iter().filter(|group| group.own).find_map(|group| fs::read_to_string(group.path.join(file)).ok())
}

/// The number after `key` in lines of `key number`.
fn value(text: &str, key: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.into_iter().find(|(name, _)| *name == key).and_then(|(_, value)| value.trim().parse().ok())
}

/// The sum over all disks, in lines such as `8:0 rbytes=1 wbytes=2 rios=3`.
fn disk(text: &str) -> Transfer {
    let sum = |key: &str| {
        let fields = text.split_whitespace().filter_map(|field| field.split_once('='));
        fields.filter(|(name, _)| *name == key).filter_map(|(_, bytes)| bytes.parse().ok()).fold(0, u64::saturating_add)
    };
    Transfer { incoming: sum("rbytes"), outgoing: sum("wbytes") }
}

/// A tree of processes, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tree {
    /// Nanoseconds.
    cpu_time: u64,
    /// Bytes, of each process apart: what they share is counted several times.
    memory: u64,
    tasks: u64,
}

/// What the process table says of a process; times in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    parent: i32,
    own: u64,
    /// Of children that have ended and were waited for.
    waited: u64,
    threads: u64,
    /// Pages.
    resident: u64,
}

impl Row {
    /// A line of `/proc/PID/stat`; the name in it may contain anything.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: number(11)?.saturating_add(number(12)?),
            waited: number(13)?.saturating_add(number(14)?),
            threads: number(17)?,
            resident: number(21)?,
        })
    }
}

/// The processes of this machine.
#[derive(Debug, Default)]
struct Table(HashMap<i32, Row>);

impl Table {
    fn read() -> Self {
        let row = |entry: fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, Row::parse(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        };
        let entries = fs::read_dir("/proc").into_iter().flatten();
        Self(entries.filter_map(|entry| row(entry.ok()?)).collect())
    }

    /// What is in the session's groups, or beneath its supervisor where it has none.
    fn tree(&self, plan: &Plan, supervisor: Option<i32>) -> Tree {
        let grouped = text(plan, "cgroup.procs");
        let members = match &grouped {
            Some(pids) => pids.lines().filter_map(|pid| pid.trim().parse().ok()).collect(),
            None => supervisor.map(|supervisor| self.beneath(supervisor)).unwrap_or_default(),
        };
        self.sum(&members, supervisor)
    }

    fn beneath(&self, ancestor: i32) -> Vec<i32> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for (pid, row) in &self.0 {
            children.entry(row.parent).or_default().push(*pid);
        }
        let mut found = Vec::new();
        let mut open = children.remove(&ancestor).unwrap_or_default();
        while let Some(pid) = open.pop() {
            found.push(pid);
            // Each is taken once, even should the table say that two are each other's parents.
            open.extend(children.remove(&pid).unwrap_or_default());
        }
        found
    }

    /// The supervisor itself is none of them, but it has waited for those that lost their parents.
    fn sum(&self, members: &[i32], supervisor: Option<i32>) -> Tree {
        let rows = || members.iter().filter_map(|pid| self.0.get(pid));
        let orphans = supervisor.and_then(|pid| self.0.get(&pid)).map_or(0, |row| row.waited);
        let ticks = rows().map(|row| row.own.saturating_add(row.waited)).fold(orphans, u64::saturating_add);
        let pages = rows().map(|row| row.resident).fold(0, u64::saturating_add);
        Tree {
            cpu_time: ticks.saturating_mul(1_000_000_000 / clock_ticks_per_second().max(1)),
            memory: pages.saturating_mul(page_size() as u64),
            tasks: rows().map(|row| row.threads).fold(0, u64::saturating_add),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use seawall_supervisor::cgroup::Group;

    use super::*;

    fn plan(dir: &Path, files: &[(&str, &str)]) -> Plan {
        for (file, content) in files {
            fs::write(dir.join(file), content).unwrap();
        }
        Plan { groups: vec![Group { path: dir.to_owned(), settings: Vec::new(), own: true }], ..Plan::default() }
    }

    #[test]
    fn version_2_is_read_and_no_limit_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 600\ninactive_file 300\n"),
            ("memory.max", "max\n"),
            ("pids.current", "3\n"),
            ("pids.max", "32\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=10 rios=7\n8:16 rbytes=2 wbytes=20\n"),
        ];
        let usage = Grouped::of(&plan(dir.path(), &files)).and(Timestamp::from_millis(1), || panic!("all is counted"));
        assert_eq!((usage.cpu_time, usage.memory, usage.memory_limit), (Some(1_500_000), Some(700), None));
        assert_eq!((usage.processes, usage.processes_limit), (Some(3), Some(32)));
        assert_eq!((usage.network, usage.disk), (None, Some(Transfer { incoming: 3, outgoing: 30 })));
    }

    #[test]
    fn version_1_is_read_and_the_rest_comes_from_the_process_table() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("cpu.stat", "nr_periods 0\n"),
            ("memory.usage_in_bytes", "1000"),
            ("memory.stat", "inactive_file 9\ntotal_inactive_file 400\n"),
            ("memory.limit_in_bytes", "9223372036854771712"),
        ];
        let tree = Tree { cpu_time: 5, memory: 6, tasks: 7 };
        let usage = Grouped::of(&plan(dir.path(), &files)).and(Timestamp::from_millis(1), || tree);
        assert_eq!((usage.cpu_time, usage.memory, usage.memory_limit), (Some(5), Some(600), None));
        assert_eq!((usage.processes, usage.processes_limit, usage.disk), (Some(7), None, None));
    }

    #[test]
    fn a_tree_without_a_group_is_found_by_its_parents() {
        let row = |parent, own, waited| Row { parent, own, waited, threads: 2, resident: 1 };
        let table = Table(HashMap::from([
            (10, row(1, 100, 4)),
            (11, row(10, 1, 0)),
            (12, row(11, 2, 8)),
            (20, row(1, 50, 50)),
            (21, row(20, 50, 50)),
            // Nobody is his own ancestor.
            (30, row(31, 1, 1)),
            (31, row(30, 1, 1)),
        ]));
        let tree = table.tree(&Plan::default(), Some(10));
        let tick = 1_000_000_000 / clock_ticks_per_second();
        assert_eq!(tree, Tree { cpu_time: 15 * tick, memory: 2 * page_size() as u64, tasks: 4 });
        assert_eq!(table.tree(&Plan::default(), None), Tree::default());
        assert_eq!(table.beneath(30).len(), 2);
    }

    #[test]
    fn a_name_with_brackets_and_spaces_is_no_trouble() {
        let line = "42 (a) b (c)) S 7 1 1 0 -1 4194560 1 2 3 4 11 12 13 14 20 0 5 0 99 1000 33 184467440737";
        let row = Row::parse(line).unwrap();
        assert_eq!(row, Row { parent: 7, own: 23, waited: 27, threads: 5, resident: 33 });
        assert_eq!(Row::parse("42 (short) S 7"), None);
    }
}
