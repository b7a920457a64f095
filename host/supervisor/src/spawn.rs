//! Starting the child: its three streams, and the descriptors that the supervisor keeps of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::fs::{Gid, Mode, Uid};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use seawall_supervisor::log::Stream;
use seawall_supervisor::record::{Program, Size, User};

use crate::stdin::Stdin;

/// What the supervisor keeps of the child.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    /// The other end of its standard input.
    pub(crate) stdin: Stdin,
    /// Its terminal, if it has one.
    pub(crate) terminal: Option<File>,
    /// Its output, not blocking.
    pub(crate) outputs: Vec<(File, Stream)>,
}

struct Streams {
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
    kept: Stdin,
    terminal: Option<File>,
    outputs: Vec<(File, Stream)>,
}

pub(crate) fn spawn(program: &Program) -> io::Result<Child> {
    let streams = if program.tty { on_terminal(program)? } else { pipes(program)? };
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let child = Command::new("/proc/self/exe")
        .arg("--exec")
        .arg(own.to_string())
        .env_clear()
        .stdin(streams.stdin)
        .stdout(streams.stdout)
        .stderr(streams.stderr)
        .spawn()?;
    for (output, _) in &streams.outputs {
        rustix::io::ioctl_fionbio(output, true)?;
    }
    let pid =
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))?;
    Ok(Child { pid, stdin: streams.kept, terminal: streams.terminal, outputs: streams.outputs })
}

fn pipes(program: &Program) -> io::Result<Streams> {
    let (stdin, kept) = if program.stdin {
        let (reader, writer) = io::pipe()?;
        give(&reader, program.user)?;
        (Stdio::from(reader), Stdin::pipe(writer.into())?)
    } else {
        (Stdio::null(), Stdin::none())
    };
    let (stdout, stdout_writer) = io::pipe()?;
    let (stderr, stderr_writer) = io::pipe()?;
    for end in [&stdout_writer, &stderr_writer] {
        give(end, program.user)?;
    }
    Ok(Streams {
        terminal: None,
        stdin,
        stdout: stdout_writer.into(),
        stderr: stderr_writer.into(),
        kept,
        outputs: vec![
            (File::from(OwnedFd::from(stdout)), Stream::Stdout),
            (File::from(OwnedFd::from(stderr)), Stream::Stderr),
        ],
    })
}

fn on_terminal(program: &Program) -> io::Result<Streams> {
    let (master, slave) = terminal(Size::USUAL, program.user)?;
    let (stdin, kept) = if program.stdin {
        (Stdio::from(slave.try_clone()?), Stdin::terminal(master.try_clone()?))
    } else {
        (Stdio::null(), Stdin::none())
    };
    Ok(Streams {
        stdin,
        stdout: slave.try_clone()?.into(),
        stderr: slave.into(),
        kept,
        terminal: Some(master.try_clone()?),
        outputs: vec![(master, Stream::Stdout)],
    })
}

/// Makes a terminal for this user: the supervisor's side, which does not block, and the other.
pub(crate) fn terminal(size: Size, user: Option<User>) -> io::Result<(File, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    resize(&slave, size)?;
    if let Some(user) = user {
        rustix::fs::fchown(&slave, Some(Uid::from_raw(user.uid)), None)?;
        rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620))?;
    }
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((File::from(master), slave))
}

/// Changes the size of a terminal; who is in its foreground hears of it.
pub(crate) fn resize(terminal: impl AsFd, size: Size) -> io::Result<()> {
    Ok(tcsetwinsize(terminal, Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 })?)
}

/// Gives a pipe to the user, who may then open it by name (`/dev/stdin`, `/dev/stdout`), as shell scripts do.
pub(crate) fn give(end: impl AsFd, user: Option<User>) -> io::Result<()> {
    match user {
        Some(user) => Ok(rustix::fs::fchown(end, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?),
        None => Ok(()),
    }
}
