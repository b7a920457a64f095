//! Commands that run in the session beside its program. Each has the connection that asked for it to itself: its output
//! and its end go out on it, its input comes in on it, and whoever closes it ends the command.
//!
//! The loop of the session gives each a turn whenever anything has happened. A turn never blocks: output is read only as
//! fast as the other side takes it, and input only as fast as the command does. One that does not read stops its own
//! connection and nothing else; what is held for it is less than 300 KiB.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Pid;
use seawall_supervisor::log::Stream;
use seawall_supervisor::protocol::{CommandEnd, Reply, Request};
use seawall_supervisor::record::{self, Interactive, User};
use seawall_supervisor::signal;

use crate::keyboard::Keyboard;
use crate::spawn;
use crate::stdin::Stdin;
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
    keyboard: Keyboard,
    stdin: Stdin,
    /// It is known that nothing it is given is read.
    input_told: bool,
    terminal: Option<File>,
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
        interactive: &Interactive,
        user: Option<User>,
        tree: &Tree,
        keyboard: Keyboard,
    ) -> Result<Self, (Keyboard, io::Error)> {
        let Streams { pid, stdin, terminal, outputs } =
            match begin(interactive, interactive.command.user.or(user), tree) {
                Ok(streams) => streams,
                Err(error) => return Err((keyboard, error)),
            };
        let timeout = interactive.command.timeout.map(Duration::from_millis);
        Ok(Self {
            pid,
            keyboard,
            stdin,
            // Who asked for none knows.
            input_told: !interactive.stdin,
            terminal,
            outputs,
            pending: Reply::Done.encode(),
            until: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            timed_out: false,
            ended: None,
            progress: Instant::now(),
            told: false,
        })
    }

    /// What it waits for.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (std::os::fd::BorrowedFd<'_>, PollFlags)> {
        let out = if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let input = if self.stdin.has_room() { PollFlags::IN } else { PollFlags::empty() };
        let room = self.pending.len() < MOST_PENDING;
        let outputs = self.outputs.iter().filter(move |_| room).map(|(output, _)| (output.as_fd(), PollFlags::IN));
        std::iter::once((self.keyboard.connection.as_fd(), input | out)).chain(self.stdin.source()).chain(outputs)
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
            self.stdin.abandon();
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
        let listens = self.listens(tree) && self.send();
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

    /// Takes what the other side gives. `false`: it is gone.
    fn listens(&mut self, tree: &Tree) -> bool {
        let (pid, terminal) = (self.pid, self.terminal.as_ref());
        let there = self.keyboard.turn(&mut self.stdin, |request| match request {
            Request::Signal(9) => tree.kill_command(pid),
            Request::Signal(number) => {
                if let Some(signal) = signal::from_number(number) {
                    tree.signal_command(pid, signal);
                }
            }
            Request::Resize(size) => {
                // Of a terminal that nobody has open any more the size is nobody's concern.
                let _ = terminal.map(|terminal| spawn::resize(terminal, size));
            }
            _ => {}
        });
        if !self.stdin.is_open() && !self.input_told && self.ended.is_none() {
            self.input_told = true;
            self.pending.extend(Reply::InputClosed.encode());
        }
        there && !self.keyboard.hung_up()
    }

    fn send(&mut self) -> bool {
        while !self.pending.is_empty() {
            match self.keyboard.connection.write(&self.pending) {
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

/// What is kept of a command that was begun.
struct Streams {
    pid: Pid,
    stdin: Stdin,
    terminal: Option<File>,
    outputs: Vec<(File, Stream)>,
}

/// The child reads from its standard input what it is to become: it may hold secrets, which arguments do not keep.
fn begin(interactive: &Interactive, user: Option<User>, tree: &Tree) -> io::Result<Streams> {
    let record = record::encode(interactive)?;
    let length = u32::try_from(record.len()).map_err(io::Error::other)?;
    let told = [&length.to_le_bytes()[..], &record].concat();
    let (child_stdin, mut stdin) = match (interactive.terminal, interactive.stdin) {
        // What the client gives follows it in the pipe.
        (None, true) => {
            let (reader, writer) = io::pipe()?;
            spawn::give(&reader, user)?;
            let mut stdin = Stdin::pipe(writer.into())?;
            stdin.give(&told);
            (Stdio::from(reader), stdin)
        }
        _ => {
            let mut file = File::from(memfd_create("command", MemfdFlags::CLOEXEC)?);
            file.write_all(&told)?;
            file.rewind()?;
            (Stdio::from(file), Stdin::none())
        }
    };
    let (stdout, stderr, terminal, outputs) = match interactive.terminal {
        Some(size) => {
            let (master, slave) = spawn::terminal(size, user)?;
            if interactive.stdin {
                stdin = Stdin::terminal(master.try_clone()?);
            }
            let terminal = Some(master.try_clone()?);
            (Stdio::from(slave.try_clone()?), Stdio::from(slave), terminal, vec![(master, Stream::Stdout)])
        }
        None => {
            let (stdout, stdout_writer) = output(user)?;
            let (stderr, stderr_writer) = output(user)?;
            (stdout_writer, stderr_writer, None, vec![(stdout, Stream::Stdout), (stderr, Stream::Stderr)])
        }
    };
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let pid = tree.start(|| {
        let child = Process::new("/proc/self/exe")
            .arg("--command")
            .arg(own.to_string())
            .env_clear()
            .stdin(child_stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()?;
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))
    })?;
    Ok(Streams { pid, stdin, terminal, outputs })
}

/// A pipe for output: the end to read from, which does not block, and the other.
fn output(user: Option<User>) -> io::Result<(File, Stdio)> {
    let (reader, writer) = io::pipe()?;
    spawn::give(&writer, user)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((File::from(OwnedFd::from(reader)), Stdio::from(writer)))
}
