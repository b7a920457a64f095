//! Commands that run in the session beside its program. Each has the connection that asked for it to itself: its output
//! and its end go out on it, and whoever closes it ends the command.
//!
//! The loop of the session gives each a turn whenever anything has happened. A turn never blocks: output is read only as
//! fast as the other side takes it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{Gid, MemfdFlags, Uid, memfd_create};
use rustix::process::Pid;
use seawall_supervisor::log::Stream;
use seawall_supervisor::protocol::{CommandEnd, Reply};
use seawall_supervisor::record::{self, Command, User};

use crate::tree::{End, Tree};

/// More at once are refused.
pub(crate) const MOST: usize = 16;
/// Output that is read in one go.
const PIECE: usize = 16 << 10;
/// Output that is kept for a client that reads slowly. With more than this waiting, none is read.
const MOST_PENDING: usize = 64 << 10;
/// How long to go on reading when the command has ended: only what it left behind keeps its output open.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// How long a client may read nothing of what a command that ended has written.
const SEND_PATIENCE: Duration = Duration::from_secs(60);

/// A command that runs.
pub(crate) struct Running {
    pid: Pid,
    connection: UnixStream,
    outputs: Vec<(File, Stream)>,
    /// Still to be sent.
    pending: Vec<u8>,
    /// It is killed then.
    until: Option<Instant>,
    timed_out: bool,
    ended: Option<End>,
    /// When anything was last read or sent, or it ended.
    progress: Instant,
    /// Its end is among what is to be sent.
    told: bool,
}

impl Running {
    /// Starts a command of this session. `user` is the session's own.
    pub(crate) fn start(
        command: &Command,
        user: Option<User>,
        tree: &Tree,
        connection: UnixStream,
    ) -> Result<Self, (UnixStream, io::Error)> {
        match spawn(command, command.user.or(user), tree) {
            Ok((pid, outputs)) => {
                let until =
                    command.timeout.and_then(|millis| Instant::now().checked_add(Duration::from_millis(millis)));
                let pending = Reply::Done.encode();
                let (timed_out, ended, progress, told) = (false, None, Instant::now(), false);
                Ok(Self { pid, connection, outputs, pending, until, timed_out, ended, progress, told })
            }
            Err(error) => Err((connection, error)),
        }
    }

    /// What it waits for.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (std::os::fd::BorrowedFd<'_>, PollFlags)> {
        let out = if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let room = self.pending.len() < MOST_PENDING;
        let outputs = self.outputs.iter().filter(move |_| room).map(|(output, _)| (output.as_fd(), PollFlags::IN));
        std::iter::once((self.connection.as_fd(), PollFlags::IN | out)).chain(outputs)
    }

    /// When it needs a turn though nothing has happened.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.ended.is_some() { Some(self.progress + self.patience()) } else { self.until }
    }

    fn patience(&self) -> Duration {
        if self.pending.is_empty() { DRAIN_PATIENCE } else { SEND_PATIENCE }
    }

    /// It ended, if it is this one.
    pub(crate) fn hear(&mut self, pid: Pid, end: End) {
        if pid == self.pid {
            self.ended = Some(end);
            self.progress = Instant::now();
        }
    }

    /// Does what can be done now. `false`: it is over, or nobody listens any more.
    pub(crate) fn turn(&mut self, tree: &Tree) -> bool {
        let late = self.until.is_some_and(|until| Instant::now() >= until);
        if late && self.ended.is_none() {
            self.timed_out = true;
            // Again and again, as what it starts meanwhile may escape.
            tree.kill_command(self.pid);
            self.until = Some(Instant::now() + Duration::from_millis(20));
        }
        self.read();
        let impatient = self.ended.is_some() && self.progress.elapsed() >= self.patience();
        if let Some(end) = self.ended
            && !self.told
            && (self.outputs.is_empty() || impatient)
        {
            self.told = true;
            let end = match end {
                _ if self.timed_out => CommandEnd::TimedOut,
                End::Code(code) => CommandEnd::Code(code),
                End::Signal(signal) => CommandEnd::Signal(signal),
            };
            self.pending.extend(Reply::Ended(end).encode());
        }
        let listens = self.listens() && self.send();
        if !listens {
            tree.kill_command(self.pid);
        }
        listens && !(self.told && (self.pending.is_empty() || impatient))
    }

    fn read(&mut self) {
        let mut piece = [0; PIECE];
        let (pending, progress) = (&mut self.pending, &mut self.progress);
        self.outputs.retain_mut(|(output, stream)| {
            while pending.len() < MOST_PENDING {
                match output.read(&mut piece) {
                    Ok(0) => return false,
                    Ok(length) => {
                        let bytes = piece.get(..length).unwrap_or_default().to_vec();
                        pending.extend(Reply::Output(*stream, bytes).encode());
                        *progress = Instant::now();
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                }
            }
            true
        });
    }

    /// Whether the other side is there. What it says is not for us: there is nothing to say yet.
    fn listens(&mut self) -> bool {
        let mut piece = [0; 512];
        match self.connection.read(&mut piece) {
            Ok(length) => length > 0,
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    fn send(&mut self) -> bool {
        while !self.pending.is_empty() {
            match self.connection.write(&self.pending) {
                Ok(length) => {
                    self.pending.drain(..length);
                    self.progress = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

type Outputs = Vec<(File, Stream)>;

/// The child reads from its standard input what it is to become: it may hold secrets, which arguments do not keep.
fn spawn(command: &Command, user: Option<User>, tree: &Tree) -> io::Result<(Pid, Outputs)> {
    let mut told = File::from(memfd_create("command", MemfdFlags::CLOEXEC)?);
    told.write_all(&record::encode(command)?)?;
    told.rewind()?;
    let (stdout, stdout_writer) = io::pipe()?;
    let (stderr, stderr_writer) = io::pipe()?;
    if let Some(user) = user {
        for end in [&stdout_writer, &stderr_writer] {
            rustix::fs::fchown(end, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
        }
    }
    let outputs: Outputs =
        vec![(File::from(OwnedFd::from(stdout)), Stream::Stdout), (File::from(OwnedFd::from(stderr)), Stream::Stderr)];
    for (output, _) in &outputs {
        rustix::io::ioctl_fionbio(output, true)?;
    }
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let pid = tree.start(|| {
        let child = Process::new("/proc/self/exe")
            .arg("--command")
            .arg(own.to_string())
            .env_clear()
            .stdin(Stdio::from(told))
            .stdout(stdout_writer)
            .stderr(stderr_writer)
            .spawn()?;
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))
    })?;
    Ok((pid, outputs))
}
