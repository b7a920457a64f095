//! Starting the child: its three streams, and the descriptors that the supervisor keeps of them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::fs::{Gid, Mode, Uid};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use seawall_supervisor::log::Stream;
use seawall_supervisor::record::Program;

/// What the supervisor keeps of the child.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    /// The other end of its standard input, where that is kept open. For a terminal it is the terminal.
    pub(crate) stdin: Option<OwnedFd>,
    /// Its output, not blocking.
    pub(crate) outputs: Vec<(File, Stream)>,
}

struct Streams {
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
    kept: Option<OwnedFd>,
    outputs: Vec<(File, Stream)>,
}

pub(crate) fn spawn(program: &Program) -> io::Result<Child> {
    let streams = if program.tty { terminal(program)? } else { pipes(program)? };
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
    Ok(Child { pid, stdin: streams.kept, outputs: streams.outputs })
}

fn pipes(program: &Program) -> io::Result<Streams> {
    let (stdin, kept) = if program.stdin {
        let (reader, writer) = io::pipe()?;
        (Stdio::from(reader), Some(OwnedFd::from(writer)))
    } else {
        (Stdio::null(), None)
    };
    let (stdout, stdout_writer) = io::pipe()?;
    let (stderr, stderr_writer) = io::pipe()?;
    if let Some(user) = program.user {
        // So that the session may open /dev/stdout and /dev/stderr, as shell scripts do.
        for end in [&stdout_writer, &stderr_writer] {
            rustix::fs::fchown(end, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
        }
    }
    Ok(Streams {
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

fn terminal(program: &Program) -> io::Result<Streams> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })?;
    if let Some(user) = program.user {
        rustix::fs::fchown(&slave, Some(Uid::from_raw(user.uid)), None)?;
        rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620))?;
    }
    let (stdin, kept) = if program.stdin {
        (Stdio::from(slave.try_clone()?), Some(master.try_clone()?))
    } else {
        (Stdio::null(), None)
    };
    Ok(Streams {
        stdin,
        stdout: slave.try_clone()?.into(),
        stderr: slave.into(),
        kept,
        outputs: vec![(File::from(master), Stream::Stdout)],
    })
}
