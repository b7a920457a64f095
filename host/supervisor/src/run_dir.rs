//! What lies in a run directory, `RUNS/SESSION/INCARNATION/`, and who writes it.
//!
//! | name      | written by            | what                                                                      |
//! |-----------|-----------------------|---------------------------------------------------------------------------|
//! | `stamp`   | daemon, at create     | whose it is; checked on every call                                        |
//! | `program` | daemon, at create     | what to run, secrets included; never readable by the session              |
//! | `lock`    | supervisor            | locked for as long as a supervisor lives: the identity of the session     |
//! | `begun`   | supervisor            | there once anything may have run; a run directory is begun once           |
//! | `started` | supervisor            | when the program was executed, and its process id                         |
//! | `exit`    | supervisor, or daemon | how it ended; by the daemon if the supervisor itself was killed           |
//! | `ctl`     | supervisor            | socket of the control protocol                                            |
//! | `exec`    | supervisor            | fifo on which the child says how far it came before it became the program |
//! | `log/`    | supervisor            | output, as records                                                        |
//! | `work/`   | daemon, at create     | the private working directory; belongs to the session's user              |
//! | `trouble` | supervisor            | its standard error: empty unless it failed                                |
//! | `paused`  | daemon                | there while its control group is, or is about to be, frozen               |
//!
//! What tells the state of a session: with `exit`, it ended. Without it and with `begun`, it runs while the lock is held
//! and is lost when the lock is free. (`begun` must be looked at first, then the lock, then `exit`.) Without `begun` it
//! is merely created.

use std::path::{Path, PathBuf};

/// The path of a run directory, and of what lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> PathBuf {
                self.0.join(stringify!($name))
            }
        )*
    };
}

impl RunDir {
    /// The run directory at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    entries! {
        /// Whose it is.
        stamp,
        /// What to run.
        program,
        /// Locked while a supervisor lives.
        lock,
        /// Something may have run.
        begun,
        /// The program was executed.
        started,
        /// How it ended.
        exit,
        /// The control socket.
        ctl,
        /// How the execution went.
        exec,
        /// The log's directory.
        log,
        /// The private working directory.
        work,
        /// The supervisor's standard error.
        trouble,
        /// It may be frozen.
        paused,
    }
}
