//! The process table, read from `/proc`: what really runs, whatever anybody says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A process at the moment of looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// One letter as in proc(5): `R`, `S`, `Z`.
    pub state: char,
    /// When it started, in clock ticks since the boot: with the pid it names a process for good.
    pub started: u64,
    /// Its arguments.
    pub command: Vec<String>,
}

impl Process {
    /// Reads one; `None` if it is not there (any more).
    pub fn read(pid: i32) -> Option<Self> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(dir.join("stat")).ok()?;
        // The name is in brackets and may have any character in it, brackets too.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // Field 22 of proc(5); the two above are 3 and 4.
        let started = fields.nth(17)?.parse().ok()?;
        let line = fs::read(dir.join("cmdline")).ok()?;
        let command = line
            .split(|byte| *byte == 0)
            .filter(|part| !part.is_empty())
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        Some(Self { pid, parent, state, started, command })
    }

    /// It runs: it is neither a zombie nor about to vanish.
    pub fn alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// What names it for good.
    pub fn identity(&self) -> (i32, u64) {
        (self.pid, self.started)
    }

    /// It is still the same process, and runs.
    pub fn still_runs(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.identity() == self.identity() && now.alive())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    }

    /// What it has had of the processors so far: in its own code, and in the kernel for it.
    pub fn cpu_time(&self) -> Option<(Duration, Duration)> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // Fields 14 and 15 of proc(5); the first after the brackets is 3.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        // A clock tick, as Linux tells times in, is 10 ms on every machine that Seawall runs on.
        let mut time = || Some(Duration::from_millis(fields.next()?.parse::<u64>().ok()? * 10));
        Some((time()?, time()?))
    }

    /// The directories of the control groups that Seawall made for it: its own, and those above that it shares.
    pub fn control_groups(&self) -> Vec<PathBuf> {
        let lines = fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default();
        let mut groups = Vec::new();
        for line in lines.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            // Version 2 has no controllers here. Beside version 1 it is mounted as `unified`.
            let mount = match controllers.strip_prefix("name=").unwrap_or(controllers) {
                "" if Path::new("/sys/fs/cgroup/unified").is_dir() => "unified",
                mount => mount,
            };
            let mut group = Path::new("/sys/fs/cgroup").join(mount);
            for part in path.split('/').filter(|part| !part.is_empty()) {
                group.push(part);
                if group.iter().any(|part| part.to_string_lossy().starts_with("seawall-")) {
                    groups.push(group.clone());
                }
            }
        }
        groups
    }

    /// One of the paths that tie it to a directory is under `dir`, or it names the directory in its arguments.
    fn belongs_to(&self, dir: &Path) -> bool {
        let proc = PathBuf::from(format!("/proc/{}", self.pid));
        let under = |link: &str| fs::read_link(proc.join(link)).is_ok_and(|target| target.starts_with(dir));
        let named = dir.to_str().is_some_and(|dir| self.command.iter().any(|argument| argument.contains(dir)));
        named || under("cwd") || under("root")
    }
}

/// Every process of this machine that can be seen.
pub fn table() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Process::read).collect()
}

/// The living processes that belong to `dir` by their arguments or working directory, and all their descendants;
/// never this process itself or one of its forebears.
pub fn belonging_to(dir: &Path) -> Vec<Process> {
    let all = table();
    let forebears = forebears(&all);
    let mut mine: BTreeSet<i32> = all
        .iter()
        .filter(|process| !forebears.contains(&process.pid) && process.belongs_to(dir))
        .map(|process| process.pid)
        .collect();
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|process| mine.contains(&process.parent) && !mine.contains(&process.pid))
            .map(|process| process.pid)
            .collect();
        if more.is_empty() {
            break;
        }
        mine.extend(more);
    }
    all.into_iter().filter(|process| mine.contains(&process.pid) && process.alive()).collect()
}

fn forebears(all: &[Process]) -> BTreeSet<i32> {
    let mut line = BTreeSet::new();
    let mut pid = i32::try_from(std::process::id()).unwrap_or(0);
    while pid > 0 && line.insert(pid) {
        pid = all.iter().find(|process| process.pid == pid).map_or(0, |process| process.parent);
    }
    line
}

/// Sends a signal to exactly this process: not to another one that has its number by now.
///
/// # Errors
/// There is no such process, or it is not ours to signal.
pub fn signal(process: &Process, signal: Signal) -> std::io::Result<()> {
    let gone = || std::io::Error::new(std::io::ErrorKind::NotFound, format!("process {} is gone", process.pid));
    if !process.still_runs() {
        return Err(gone());
    }
    let pid = Pid::from_raw(process.pid).ok_or_else(gone)?;
    Ok(kill_process(pid, signal)?)
}

/// Kills whatever belongs to `dir`, until nothing is left or five seconds have gone. What is left is given back.
pub fn sweep_away(dir: &Path) -> Vec<Process> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let left = belonging_to(dir);
        if left.is_empty() || Instant::now() > until {
            return left;
        }
        for process in &left {
            // It may have gone meanwhile; the next look tells.
            let _ = signal(process, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_found_by_its_directory_and_swept_away_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh").args(["-c", "sleep 600 & wait"]).current_dir(dir.path()).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while belonging_to(dir.path()).len() < 2 {
            assert!(Instant::now() < until, "the shell and its child do not appear");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(sweep_away(dir.path()).is_empty());
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn this_process_belongs_to_nobody() {
        assert!(belonging_to(Path::new("/")).iter().all(|process| process.pid != std::process::id().cast_signed()));
    }

    #[test]
    fn memory_and_start_of_this_process_can_be_read() {
        let own = Process::read(std::process::id().cast_signed()).unwrap();
        assert!(own.resident().unwrap() > 100_000 && own.started > 0 && own.still_runs());
    }
}
