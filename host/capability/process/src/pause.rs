//! Freezing a session's processes, and letting them run on: by its control group, of either version.
//!
//! A file in the run directory says that a session is frozen, so that a look at one that is not costs nothing more; the
//! kernel has the last word. Both outlive the daemon.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use seawall_backend::Error;
use seawall_model::Key;
use seawall_supervisor::cgroup::Plan;

use crate::Process;
use crate::process::Inner;
use crate::runs::{self, Phase, Run};

/// The kernel stops each task at its next way into it, which takes milliseconds, unless one waits for a disk.
const FREEZE_PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

impl Process {
    /// Freezes it; one that is frozen is left alone.
    ///
    /// # Errors
    /// `Conflict` if it does not run, `Unsupported` if there is no control group to freeze.
    pub async fn pause(&self, key: &Key) -> Result<(), Error> {
        self.freeze(key, true).await
    }

    /// Lets it run on; one that runs is left alone.
    ///
    /// # Errors
    /// `Conflict` if it has ended or never ran.
    pub async fn unpause(&self, key: &Key) -> Result<(), Error> {
        self.freeze(key, false).await
    }

    async fn freeze(&self, key: &Key, frozen: bool) -> Result<(), Error> {
        let run = self.run(key).await?;
        let doing = if frozen { "pause" } else { "unpause" };
        let session = key.session.clone();
        self.blocking(move |inner| {
            let Phase::Running(Some(_)) = inner.settle(&run)?.0 else {
                return Err(Error::conflict(format!(
                    "session {session} does not run, and there is nothing to {doing}"
                )));
            };
            let program = run.program().map_err(|error| runs::unreadable(run.dir.path(), &error))?;
            let Some(freezer) = Freezer::of(&program.cgroup) else {
                if !frozen {
                    return Ok(());
                }
                return Err(Error::Unsupported(format!(
                    "session {session} has no control group that could be frozen: run the daemon as root or delegate a \
                     control group to it (systemd: Delegate=yes), and start the session again"
                )));
            };
            let failed = |error: io::Error| Error::unavailable(format!("cannot {doing} session {session}: {error}"));
            inner.set_frozen(&run, &freezer, frozen).map_err(failed)
        })
        .await
    }
}

impl Inner {
    fn set_frozen(&self, run: &Run, freezer: &Freezer, frozen: bool) -> io::Result<()> {
        let mark = run.dir.paused();
        if frozen {
            // First: a session that is frozen and not marked would be taken for one that runs.
            fs::write(&mark, "")?;
        }
        freezer.set(frozen)?;
        if frozen {
            return Ok(());
        }
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether one that runs is frozen now.
pub(crate) fn is_frozen(run: &Run) -> io::Result<bool> {
    if !fs::exists(run.dir.paused())? {
        return Ok(false);
    }
    Ok(Freezer::of(&run.program()?.cgroup).is_some_and(|freezer| freezer.is_set()))
}

/// What freezes a session's tree.
#[derive(Debug, PartialEq, Eq)]
enum Freezer {
    /// A group of version 2.
    Unified(PathBuf),
    /// A group of version 1.
    Legacy(PathBuf),
}

impl Freezer {
    fn of(plan: &Plan) -> Option<Self> {
        let own = || plan.groups.iter().filter(|group| group.own).map(|group| &group.path);
        let with = |file: &str| own().find(|path| path.join(file).is_file()).cloned();
        with("cgroup.freeze").map(Self::Unified).or_else(|| with("freezer.state").map(Self::Legacy))
    }

    fn set(&self, frozen: bool) -> io::Result<()> {
        let (path, file, content) = match (self, frozen) {
            (Self::Unified(path), true) => (path, "cgroup.freeze", "1"),
            (Self::Unified(path), false) => (path, "cgroup.freeze", "0"),
            (Self::Legacy(path), true) => (path, "freezer.state", "FROZEN"),
            (Self::Legacy(path), false) => (path, "freezer.state", "THAWED"),
        };
        fs::write(path.join(file), content)?;
        // One task that waits for a disk keeps the group from being frozen as a whole; the others are.
        let end = Instant::now() + FREEZE_PATIENCE;
        while frozen && !self.is_complete() && Instant::now() < end {
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// It was asked for.
    fn is_set(&self) -> bool {
        match self {
            Self::Unified(path) => read(path, "cgroup.freeze").trim() == "1",
            Self::Legacy(path) => matches!(read(path, "freezer.state").trim(), "FROZEN" | "FREEZING"),
        }
    }

    /// Every task stands still.
    fn is_complete(&self) -> bool {
        match self {
            Self::Unified(path) => read(path, "cgroup.events").lines().any(|line| line == "frozen 1"),
            Self::Legacy(path) => read(path, "freezer.state").trim() == "FROZEN",
        }
    }
}

fn read(group: &Path, file: &str) -> String {
    fs::read_to_string(group.join(file)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use seawall_supervisor::cgroup::Group;

    use super::*;

    fn plan(dir: &Path, groups: &[(&str, bool, &str)]) -> Plan {
        let group = |(name, own, file): &(&str, bool, &str)| {
            let path = dir.join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join(file), "").unwrap();
            Group { path, settings: Vec::new(), own: *own }
        };
        Plan { groups: groups.iter().map(group).collect(), ..Plan::default() }
    }

    #[test]
    fn the_sessions_own_group_is_frozen_and_never_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let shared = plan(dir.path(), &[("a", false, "cgroup.freeze")]);
        assert_eq!(Freezer::of(&shared), None);
        let both = plan(dir.path(), &[("b", true, "freezer.state"), ("c", true, "cgroup.freeze")]);
        assert_eq!(Freezer::of(&both), Some(Freezer::Unified(at("c"))));
        let old = plan(dir.path(), &[("d", true, "memory.stat"), ("e", true, "freezer.state")]);
        assert_eq!(Freezer::of(&old), Some(Freezer::Legacy(at("e"))));
    }

    #[test]
    fn both_versions_are_told_in_their_own_words() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old) = (Freezer::Unified(dir.path().to_owned()), Freezer::Legacy(dir.path().to_owned()));
        fs::write(dir.path().join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        for freezer in [new, old] {
            freezer.set(true).unwrap();
            assert!(freezer.is_set() && freezer.is_complete(), "{freezer:?}");
            freezer.set(false).unwrap();
            assert!(!freezer.is_set(), "{freezer:?}");
        }
    }
}
