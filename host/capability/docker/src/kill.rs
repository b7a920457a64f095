//! Signals to a command in a container, which the Engine cannot send: by the process itself, where the Engine's processes
//! are this machine's and may be sent them by this daemon.
//!
//! A process id that the Engine gives may be another machine's, another namespace's, or long given away. What counts is
//! what this machine's kernel says: only a process in a control group that bears the container's whole id is touched.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use seawall_model::Signal as Wanted;

/// Sends a signal to a command's process group; KILL to everything below it, too.
///
/// # Errors
/// It is no process of this container here, or may not be sent signals, or not this one.
pub(crate) fn command(pid: i32, container: &str, wanted: Wanted) -> io::Result<()> {
    let nobody = || io::Error::new(io::ErrorKind::Unsupported, "the Engine's processes are not this machine's");
    let signal = Signal::from_named_raw(i32::from(wanted.number()));
    let signal = signal.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "it is a real-time signal"))?;
    let group = Stat::of(pid).map(|stat| stat.group).filter(|group| *group > 0).ok_or_else(nobody)?;
    let all = wanted == Wanted::KILL;
    let mut chosen: Vec<(i32, OwnedFd)> = Vec::new();
    loop {
        let known = chosen.len();
        for (process, seen) in members(group, all)? {
            if chosen.iter().any(|(chosen, _)| *chosen == process) {
                continue;
            }
            // Pinned first and looked at then: the id cannot be given away in between.
            let Some(pinned) = Pid::from_raw(process).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
                continue;
            };
            if is_of(process, container) && Stat::of(process).is_some_and(|stat| stat.began == seen.began) {
                if all {
                    // What stands still starts nothing that would escape.
                    send(&pinned, Signal::STOP)?;
                }
                chosen.push((process, pinned));
            }
        }
        if !all || chosen.len() == known {
            break;
        }
    }
    for (_, pinned) in &chosen {
        send(pinned, signal)?;
    }
    if chosen.is_empty() { Err(nobody()) } else { Ok(()) }
}

fn send(to: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(to, signal) {
        // One that ended has no use for it.
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A process group, and with `below` what its processes have started.
fn members(group: i32, below: bool) -> io::Result<Vec<(i32, Stat)>> {
    let mut others: Vec<(i32, Stat)> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((pid, Stat::of(pid)?)))
        .collect();
    let mut found: Vec<(i32, Stat)> = Vec::new();
    loop {
        let belongs =
            |stat: &Stat| stat.group == group || (below && found.iter().any(|(parent, _)| stat.parent == *parent));
        let (more, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, stat)| belongs(stat));
        others = rest;
        if more.is_empty() {
            return Ok(found);
        }
        found.extend(more);
    }
}

/// What tells a process from others.
struct Stat {
    parent: i32,
    group: i32,
    began: u64,
}

impl Stat {
    /// From /proc/PID/stat; the name in it may contain anything.
    fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
        let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { parent, group, began: fields.nth(16)?.parse().ok()? })
    }
}

fn is_of(pid: i32, container: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"));
    container.len() == 64 && groups.is_ok_and(|groups| groups.contains(container))
}
