//! The tree of processes below this one: who ended, whether any is left, and how to end them all.
//!
//! The supervisor is a subreaper: what loses its parent becomes its child, whatever session or group it moved to. A
//! process hands its children over before it can be waited for, so "no child left" means that nothing is left at all.

use std::fs;
use std::io::{self, PipeReader, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, pidfd_open, pidfd_send_signal,
    wait, waitid,
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
    /// Nothing is left.
    Gone,
}

/// The thread that waits, before there is anything to wait for: it must exist before the first child does.
pub(crate) struct Waiter {
    news: PipeReader,
    first: SyncSender<Pid>,
    alive: Arc<Mutex<bool>>,
}

/// The tree.
pub(crate) struct Tree {
    pub(crate) first: Pid,
    news: PipeReader,
    /// Guards the first process's id: while this is held and true, the process has not been reaped and its id, which is
    /// also its group's, is its own.
    alive: Arc<Mutex<bool>>,
}

impl Waiter {
    pub(crate) fn new() -> io::Result<Self> {
        let (news, teller) = io::pipe()?;
        let (first, told) = sync_channel(1);
        let alive = Arc::new(Mutex::new(true));
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

fn wait_for_all(told: &Receiver<Pid>, alive: &Mutex<bool>, mut teller: impl Write) {
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
            if pid != first || !(status.exited() || status.signaled()) {
                continue;
            }
            *alive = false;
            let byte = |number: Option<i32>| u8::try_from(number.unwrap_or(0)).unwrap_or(u8::MAX);
            let _ = match status.terminating_signal() {
                Some(signal) => teller.write_all(&[b'S', byte(Some(signal))]),
                None => teller.write_all(&[b'C', byte(status.exit_status())]),
            };
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
        let mut word = [0; 2];
        match self.news.read_exact(&mut word) {
            Ok(()) if word.first() == Some(&b'S') => News::Ended(End::Signal(word[1])),
            Ok(()) => News::Ended(End::Code(word[1])),
            Err(_) => News::Gone,
        }
    }

    /// The first process's id, while it has not been reaped.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).then_some(self.first)
    }

    /// Sends a signal to the first process's group. Once that process is reaped: nothing happens.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if !*alive {
            return Ok(());
        }
        match kill_process_group(self.first, signal) {
            // Before it has made its group, and when all of it are zombies.
            Err(rustix::io::Errno::SRCH) => match rustix::process::kill_process(self.first, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(error) => Err(error.into()),
            },
            other => Ok(other?),
        }
    }

    /// Kills every process below this one. What is started meanwhile may escape: call it until nothing is left.
    pub(crate) fn kill(&self) {
        for (pid, began) in descendants() {
            // The id may have been given away since the look; the descriptor pins it, and the second look tells.
            if let Ok(pinned) = pidfd_open(pid, PidfdFlags::empty())
                && stat(pid.as_raw_nonzero().get()).is_some_and(|stat| stat.began == began)
            {
                let _ = pidfd_send_signal(&pinned, Signal::KILL);
            }
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

fn descendants() -> Vec<(Pid, u64)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut others: Vec<(i32, Stat)> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let mut found = Vec::new();
    let mut parents = vec![rustix::process::getpid().as_raw_nonzero().get()];
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
