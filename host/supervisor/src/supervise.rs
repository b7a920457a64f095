//! From nothing to a running session: everything that can fail is done before anything is begun.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use seawall_supervisor::lock::Lock;
use seawall_supervisor::log::Writer;
use seawall_supervisor::record::{self, Ended, Failure, Program, Reserved};
use seawall_supervisor::{Outcome, RunDir, now};

use crate::session::Session;
use crate::spawn::spawn;
use crate::tree::Waiter;

/// Runs the session of this run directory to its end.
pub(crate) fn run(path: &Path) -> io::Result<()> {
    std::env::set_current_dir(path).map_err(|error| named("cannot enter", path, error))?;
    // Everything from here on is relative, which also keeps the socket's path short.
    let dir = RunDir::new(".");
    rustix::process::umask(Mode::from_raw_mode(0o077));
    // Out of the daemon's session and process group. One that leads its own already is there.
    let _ = rustix::process::setsid();

    let Some(lock) = Lock::take(&dir.lock()).map_err(|error| named("cannot lock", path, error))? else {
        return say(Outcome::Locked);
    };
    if fs::exists(dir.begun())? || fs::exists(dir.exit())? {
        return say(Outcome::Begun);
    }
    let program: Program = record::read(&dir.program())?
        .ok_or_else(|| named("nothing to run in", path, io::ErrorKind::NotFound.into()))?;

    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let log = Writer::open(&dir.log(), program.log).map_err(|error| named("cannot use the log in", path, error))?;
    let listener = listen(&dir).map_err(|error| named("cannot listen in", path, error))?;
    let fifo = fifo(&dir).map_err(|error| named("cannot make a fifo in", path, error))?;
    let mut exit = Reserved::new(&dir.exit()).map_err(|error| named("no space in", path, error))?;
    let waiter = Waiter::new()?;
    program
        .cgroup
        .create()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot make its control group: {error}")))?;

    OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.begun())?;
    record::sync_parent(&dir.begun())?;
    let child = match spawn(&program) {
        Ok(child) => child,
        Err(error) => {
            let failure = Failure { field: None, message: format!("cannot start a process: {error}") };
            let message = Some(failure.message.clone());
            exit.write(&Ended {
                at: Some(now()),
                code: Some(126),
                message,
                failure: Some(failure),
                ..Ended::default()
            })?;
            return say(Outcome::Failed);
        }
    };
    let tree = waiter.watch(child.pid);
    // Secrets are in the program: it is not kept.
    let (plan, user) = (program.cgroup.clone(), program.user);
    drop(program);
    Session::new(dir, log, listener, fifo, exit, plan, user, tree, child).run();
    // The lock is freed last, by the end of the process at the latest.
    drop(lock);
    Ok(())
}

/// Tells the daemon how the start went, and lets go of it.
pub(crate) fn say(outcome: Outcome) -> io::Result<()> {
    // A daemon that is gone does not listen.
    let _ = io::stdout().write_all(&[outcome.byte()]).and_then(|()| io::stdout().flush());
    let nothing = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(())
}

fn listen(dir: &RunDir) -> io::Result<UnixListener> {
    clear(&dir.ctl())?;
    let listener = UnixListener::bind(dir.ctl())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn fifo(dir: &RunDir) -> io::Result<File> {
    clear(&dir.exec())?;
    mkfifoat(CWD, dir.exec(), Mode::from_raw_mode(0o600))?;
    // Without blocking, or the child would have to be there first.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    OpenOptions::new().read(true).custom_flags(flags).open(dir.exec())
}

fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn named(what: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}
