//! The tree of processes below this one: who ended, whether any is left, and how to end them all.
//!
//! The supervisor is a subreaper: what loses its parent becomes its child, whatever session or group it moved to. A
//! process hands its children over before it can be waited for, so "no child left" means that nothing is left at all.

use std::fs;
use std::io::{self, PipeReader, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group, pidfd_open,
    pidfd_send_signal, wait, waitid,
};

/// What came of the first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(u8),
    Signal(u8),
}

/// News from the thread that waits.
pub(crate) enum News {
    /// The first process ended.
    Ended(End),
    /// A command ended.
    CommandEnded(Pid, End),
    /// Nothing is left.
    Gone,
}

/// The thread that waits, before there is anything to wait for: it must exist before the first child does.
pub(crate) struct Waiter {
    news: PipeReader,
    first: SyncSender<Pid>,
    alive: Arc<Mutex<Alive>>,
}

/// Whose ids, which are also their groups', are still their own: they have not been reaped while this is held.
struct Alive {
    first: bool,
    commands: Vec<Pid>,
}

/// The tree.
pub(crate) struct Tree {
    pub(crate) first: Pid,
    news: PipeReader,
    alive: Arc<Mutex<Alive>>,
}

impl Waiter {
    pub(crate) fn new() -> io::Result<Self> {
        let (news, teller) = io::pipe()?;
        let (first, told) = sync_channel(1);
        let alive = Arc::new(Mutex::new(Alive { first: true, commands: Vec::new() }));
        let shared = Arc::clone(&alive);
        std::thread::Builder::new().name("wait".to_owned()).stack_size(64 << 10).spawn(move || {
            wait_for_all(&told, &shared, teller);
        })?;
        Ok(Self { news, first, alive })
    }

    /// The first process is there.
    pub(crate) fn watch(self, first: Pid) -> Tree {
        // The thread waits for exactly this; it cannot be gone.
        let _ = self.first.send(first);
        Tree { first, news: self.news, alive: self.alive }
    }
}

/// What is told of an end: how, the number, and of whom.
type Word = [u8; 6];

fn wait_for_all(told: &Receiver<Pid>, alive: &Mutex<Alive>, mut teller: impl Write) {
    let Ok(first) = told.recv() else { return };
    loop {
        // Look without reaping, then reap under the guard.
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        }
        let mut alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let known = pid == first || alive.commands.contains(&pid);
            if !known || !(status.exited() || status.signaled()) {
                continue;
            }
            alive.first &= pid != first;
            alive.commands.retain(|command| *command != pid);
            let byte = |number: Option<i32>| u8::try_from(number.unwrap_or(0)).unwrap_or(u8::MAX);
            let [a, b, c, d] = pid.as_raw_nonzero().get().to_le_bytes();
            let word: Word = match status.terminating_signal() {
                Some(signal) => [b'S', byte(Some(signal)), a, b, c, d],
                None => [b'C', byte(status.exit_status()), a, b, c, d],
            };
            let _ = teller.write_all(&word);
        }
    }
}

impl std::os::fd::AsFd for Tree {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.news.as_fd()
    }
}

impl Tree {
    /// Waits for news; call it when the descriptor is readable.
    pub(crate) fn news(&mut self) -> News {
        let mut word: Word = [0; 6];
        if self.news.read_exact(&mut word).is_err() {
            return News::Gone;
        }
        let [how, number, a, b, c, d] = word;
        let end = if how == b'S' { End::Signal(number) } else { End::Code(number) };
        match Pid::from_raw(i32::from_le_bytes([a, b, c, d])) {
            Some(pid) if pid != self.first => News::CommandEnded(pid, end),
            _ => News::Ended(end),
        }
    }

    fn alive(&self) -> MutexGuard<'_, Alive> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts another process, whose end is told. Nothing is begun once the first has ended.
    pub(crate) fn start(&self, spawn: impl FnOnce() -> io::Result<Pid>) -> io::Result<Pid> {
        // Held until its id is known here: it cannot be reaped before.
        let mut alive = self.alive();
        if !alive.first {
            return Err(io::Error::other("the session has ended"));
        }
        let pid = spawn()?;
        alive.commands.push(pid);
        Ok(pid)
    }

    /// Kills a command, its process group, and what is below it. One that ended: nothing happens.
    pub(crate) fn kill_command(&self, pid: Pid) {
        let alive = self.alive();
        if alive.commands.contains(&pid) {
            // Standing still, it starts nothing that would escape. It is killed first, or it might end as if by itself
            // when it hears of the others; but who they are is asked before.
            let _ = kill_process_group(pid, Signal::STOP);
            let below = descendants(pid);
            let _ = kill_process_group(pid, Signal::KILL).or_else(|_| kill_process(pid, Signal::KILL));
            kill_each(below);
        }
    }

    /// Sends a signal to a command's process group. One that ended: nothing happens.
    pub(crate) fn signal_command(&self, pid: Pid, signal: Signal) {
        let alive = self.alive();
        if alive.commands.contains(&pid) {
            // Before it has made its group there is the process alone.
            let _ = kill_process_group(pid, signal).or_else(|_| kill_process(pid, signal));
        }
    }

    /// The first process's id, while it has not been reaped.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.alive().first.then_some(self.first)
    }

    /// Sends a signal to the first process's group. Once that process is reaped: nothing happens.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let alive = self.alive();
        if !alive.first {
            return Ok(());
        }
        match kill_process_group(self.first, signal) {
            // Before it has made its group, and when all of it are zombies.
            Err(rustix::io::Errno::SRCH) => match kill_process(self.first, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(error) => Err(error.into()),
            },
            other => Ok(other?),
        }
    }

    /// Kills every process below this one. What is started meanwhile may escape: call it until nothing is left.
    pub(crate) fn kill(&self) {
        kill_each(descendants(rustix::process::getpid()));
    }
}

fn kill_each(processes: Vec<(Pid, u64)>) {
    for (pid, began) in processes {
        // The id may have been given away since the look; the descriptor pins it, and the second look tells.
        if let Ok(pinned) = pidfd_open(pid, PidfdFlags::empty())
            && stat(pid.as_raw_nonzero().get()).is_some_and(|stat| stat.began == began)
        {
            let _ = pidfd_send_signal(&pinned, Signal::KILL);
        }
    }
}

struct Stat {
    parent: i32,
    began: u64,
}

/// Parent and start time from /proc/PID/stat; the name in it may contain anything.
fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let began = fields.nth(17)?.parse().ok()?;
    Some(Stat { parent, began })
}

fn descendants(root: Pid) -> Vec<(Pid, u64)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut others: Vec<(i32, Stat)> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let mut found = Vec::new();
    let mut parents = vec![root.as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        others.retain(|(pid, stat)| {
            if stat.parent == parent {
                parents.push(*pid);
                found.extend(Pid::from_raw(*pid).map(|pid| (pid, stat.began)));
            }
            stat.parent != parent
        });
    }
    found
}
