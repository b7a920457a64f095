//! Control groups, as a plan: which directories to make, what to write into them, how to kill and how to ask.
//!
//! The daemon finds out what the machine has and writes the plan; the supervisor carries it out without knowing which
//! version of cgroups it is. The child joins before it becomes the program, so that the limits hold from its first
//! instruction, for everything it ever starts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// Where a session's tree is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order in which they are made.
    pub groups: Vec<Group>,
    /// How to end the tree; absent where there is no group to do it with.
    pub kill: Option<Kill>,
    /// Where the kernel counts what it killed for want of memory.
    pub oom: Option<Counter>,
}

/// One directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Where, absolute.
    pub path: PathBuf,
    /// Written in this order once it is made.
    pub settings: Vec<Setting>,
    /// The session's own: it is joined, and removed in the end. Others are shared by all sessions.
    pub own: bool,
}

/// A file of a group, and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name in the group.
    pub file: String,
    /// What is written.
    pub content: String,
    /// A kernel without this file has nothing to limit here.
    pub optional: bool,
}

impl Setting {
    /// One that must be written.
    pub fn new(file: &str, content: impl ToString) -> Self {
        Self { file: file.to_owned(), content: content.to_string(), optional: false }
    }

    /// One that is written where there is such a file.
    pub fn optional(file: &str, content: impl ToString) -> Self {
        Self { optional: true, ..Self::new(file, content) }
    }
}

/// How a tree is ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kill {
    /// `cgroup.kill` of this group (version 2, Linux 5.14).
    Group(PathBuf),
    /// Freeze this group (version 1), kill each, thaw.
    Freezer(PathBuf),
    /// Kill each process of this group until none is left.
    Each(PathBuf),
}

/// A number in a file of `key value` lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The file.
    pub file: PathBuf,
    /// The key.
    pub key: String,
}

impl Plan {
    /// Makes the groups. One that is there is kept, and its settings written again.
    ///
    /// # Errors
    /// Which group or setting could not be made.
    pub fn create(&self) -> io::Result<()> {
        // The shared group above may be removed, as empty, between making it and making ours in it.
        for _ in 0..10 {
            match self.create_once() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        self.create_once()
    }

    fn create_once(&self) -> io::Result<()> {
        for group in &self.groups {
            make(&group.path)?;
            for setting in &group.settings {
                match write(&group.path.join(&setting.file), &setting.content) {
                    Err(error) if setting.optional && error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Moves the calling process into the groups.
    ///
    /// # Errors
    /// Which group could not be joined.
    pub fn join(&self) -> io::Result<()> {
        self.own().try_for_each(|group| write(&group.path.join("cgroup.procs"), "0"))
    }

    /// Kills everything in the groups once. What is killed may take a moment to be gone.
    ///
    /// # Errors
    /// There is a group and it could not be used.
    pub fn kill(&self) -> io::Result<()> {
        let result = match &self.kill {
            None => return Ok(()),
            Some(Kill::Group(path)) => write(&path.join("cgroup.kill"), "1"),
            Some(Kill::Freezer(path)) => {
                write(&path.join("freezer.state"), "FROZEN")?;
                let killed = kill_each(path);
                write(&path.join("freezer.state"), "THAWED").and(killed)
            }
            Some(Kill::Each(path)) => kill_each(path),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Kills everything in the groups until nothing is left, for at most this long.
    ///
    /// # Errors
    /// Something was left, or could not be looked at.
    pub fn kill_all(&self, patience: Duration) -> io::Result<()> {
        let end = Instant::now() + patience;
        loop {
            self.kill()?;
            if self.is_empty()? {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "some processes do not end though they were killed",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether no process is left in the groups.
    ///
    /// # Errors
    /// A group could not be looked at.
    pub fn is_empty(&self) -> io::Result<bool> {
        for group in self.own() {
            if !processes(&group.path)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many processes the kernel killed in it for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let Some(counter) = &self.oom else { return 0 };
        fs::read_to_string(&counter.file).map_or(0, |text| value_of(&text, &counter.key))
    }

    /// Removes the session's own groups, and the shared ones that are empty then. One that is gone is success.
    ///
    /// # Errors
    /// One of its own could not be removed within this time: something is still in it.
    pub fn remove(&self, patience: Duration) -> io::Result<()> {
        let end = Instant::now() + patience;
        for group in self.own() {
            // A group is busy for a moment after its last process was reaped.
            while let Err(error) = fs::remove_dir(&group.path) {
                match error.kind() {
                    io::ErrorKind::NotFound => break,
                    io::ErrorKind::ResourceBusy if Instant::now() < end => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    _ => return Err(named(&group.path, error)),
                }
            }
        }
        for group in self.groups.iter().filter(|group| !group.own) {
            // One with another session in it stays.
            let _ = fs::remove_dir(&group.path);
        }
        Ok(())
    }

    fn own(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.own)
    }
}

/// The value of `key` in lines of `key value`; 0 if it is not there.
fn value_of(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

fn processes(group: &Path) -> io::Result<Vec<Pid>> {
    match fs::read_to_string(group.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(named(group, error)),
    }
}

fn kill_each(group: &Path) -> io::Result<()> {
    for pid in processes(group)? {
        match kill_process(pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(named(path, error)),
        _ => Ok(()),
    }
}

/// Opens without creating: in a control group only the kernel makes files.
fn write(path: &Path, content: &str) -> io::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(|error| named(path, error))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_whole_key() {
        let text = "low 0\noom_kill_disable 7\noom_kill 2\n";
        assert_eq!(value_of(text, "oom_kill"), 2);
        assert_eq!(value_of(text, "oom"), 0);
    }

    #[test]
    fn a_plan_without_groups_does_nothing() {
        let plan = Plan::default();
        plan.create().unwrap();
        plan.join().unwrap();
        plan.kill_all(Duration::ZERO).unwrap();
        plan.remove(Duration::ZERO).unwrap();
        assert_eq!(plan.oom_kills(), 0);
    }
}
