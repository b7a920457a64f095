//! What a supervisor and the daemon share: the run directory, the records in it, the log, the lock and the protocol.
//!
//! A supervisor is the parent of one session's process. It outlives the daemon, and a daemon may be newer than the
//! supervisors it finds. So everything here that reaches a disk or a socket begins with a version.
//!
//! Deliberately absent: tokio and all that is large. A supervisor holds at most 3 MiB, and there may be a thousand.

pub mod cgroup;
pub mod lock;
pub mod log;
pub mod plain;
pub mod protocol;
pub mod record;
pub mod rlimit;
mod run_dir;
pub mod signal;

pub use run_dir::RunDir;

/// One byte on the supervisor's standard output, before it lets go of it: how its start went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program was executed; `started` is written.
    Started,
    /// It could not be executed; `exit` says why.
    Failed,
    /// Another supervisor holds the lock of this run directory.
    Locked,
    /// This incarnation was begun before. It is never begun twice.
    Begun,
}

impl Outcome {
    /// The byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Started => b'S',
            Self::Failed => b'F',
            Self::Locked => b'L',
            Self::Begun => b'B',
        }
    }

    /// From the byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Started, Self::Failed, Self::Locked, Self::Begun].into_iter().find(|outcome| outcome.byte() == byte)
    }
}

/// How a supervisor begins to say on its standard error why the end of its session is not on record.
pub const CANNOT_RECORD: &str = "cannot record the exit: ";

/// The time now, in ms since the Unix epoch.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
