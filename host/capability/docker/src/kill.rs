//! Killing a command in a container, which the Engine cannot: by the process itself, where the Engine's processes are
//! this machine's and may be killed by this daemon.
//!
//! A process id that the Engine gives may be another machine's, another namespace's, or long given away. What counts is
//! what this machine's kernel says: only a process in a control group that bears the container's whole id is touched.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Kills a command with its process group.
///
/// # Errors
/// It is no process of this container here, or may not be killed.
pub(crate) fn command(pid: i32, container: &str) -> io::Result<()> {
    let nobody = || io::Error::other("the Engine's processes are not this machine's");
    let group = group_of(pid).filter(|group| *group > 0).ok_or_else(nobody)?;
    let others = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut killed = false;
    for process in others.filter(|other| group_of(*other) == Some(group)) {
        // Pinned first and looked at then: the id cannot be given away in between.
        let Some(pinned) = Pid::from_raw(process).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
            continue;
        };
        if is_of(process, container) && group_of(process) == Some(group) {
            pidfd_send_signal(&pinned, Signal::KILL)?;
            killed = true;
        }
    }
    if killed { Ok(()) } else { Err(nobody()) }
}

/// The process group, from /proc/PID/stat; the name in it may contain anything.
fn group_of(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(2)?.parse().ok()
}

fn is_of(pid: i32, container: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"));
    container.len() == 64 && groups.is_ok_and(|groups| groups.contains(container))
}
