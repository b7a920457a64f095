//! The lock that is a session's identity.
//!
//! It is a record lock (`fcntl`), not a `flock`: it belongs to the process and not to the open file, so no child
//! inherits it, the kernel frees it when the process is gone however it went, and `F_GETLK` tells who holds it without
//! ever taking it. A probe that took it, if only for an instant, could meet a supervisor that is about to start.
//!
//! A process loses such a lock when it closes *any* descriptor of the file: a supervisor opens it once.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, Pid, fcntl_getlk};

use crate::plain;

/// The lock, held until this is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held, not used")] File);

impl Lock {
    /// Takes the lock; `None` if another process has it.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether another process holds the lock. One that is not there is free.
///
/// # Errors
/// The file cannot be opened or asked.
pub fn is_held(path: &Path) -> io::Result<bool> {
    Ok(held(path)?.is_some())
}

/// The process that holds the lock; `None` if none does, or none of this pid namespace.
///
/// # Errors
/// The file cannot be opened or asked.
pub fn holder(path: &Path) -> io::Result<Option<Pid>> {
    Ok(held(path)?.and_then(|lock| lock.pid))
}

fn held(path: &Path) -> io::Result<Option<Flock>> {
    let file = match plain::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?)
}
