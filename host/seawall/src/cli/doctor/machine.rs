//! The user, the kernel, and programs.

use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::Finding;
use super::storage::runs;

/// What is there without any configuration.
pub(super) fn look() -> Vec<Finding> {
    let mut findings = vec![user(), kernel()];
    findings.extend(tools());
    findings
}

fn user() -> Finding {
    let user = rustix::process::geteuid();
    match user.is_root() {
        true => Finding::ok("user", "root: sessions of the backend `process` run as another user"),
        false => {
            Finding::ok("user", format!("{}: sessions of the backend `process` run as the same user", user.as_raw()))
        }
    }
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let pidfd = pidfd_open(getpid(), PidfdFlags::empty()).is_ok();
    let openat2 = openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS).is_ok();
    let missing: Vec<_> =
        [("pidfd_open", pidfd), ("openat2", openat2)].iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
    match missing.is_empty() {
        true => Finding::ok("kernel", format!("{release}: pidfd_open, openat2")),
        false => Finding::problem(
            "kernel",
            format!("{release} has no {}", missing.join(" and no ")),
            "use Linux 5.6 or later, or let the sandbox around Seawall allow these calls",
        ),
    }
}

/// A program, what wants it, and whether some sessions cannot do without.
const TOOLS: [(&str, &str, bool); 4] = [
    ("sh", "`--health-cmd` and most commands of the backend `process`", true),
    ("dockerd", "an Engine of this machine for the backend `docker`", false),
    ("docker", "looking at containers besides Seawall", false),
    ("curl", "the API by hand", false),
];

/// Which of them are there.
fn tools() -> Vec<Finding> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    judge(&|program| std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| runs(file)))
}

fn judge(find: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<Finding> {
    let (mut found, mut missing, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for (program, wanted_for, needed) in TOOLS {
        match find(program) {
            Some(path) => found.push(path.display().to_string()),
            None if needed => missing.push(Finding::warning(
                &format!("tool {program}"),
                "not in PATH",
                format!("install it: it is for {wanted_for}"),
            )),
            None => absent.push(format!("no {program} (for {wanted_for})")),
        }
    }
    found.extend(absent);
    missing.insert(0, Finding::ok("tools", found.join(", ")));
    missing
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_tool_that_is_not_there_is_named_with_what_it_is_for() {
        let all = judge(&|program| Some(PathBuf::from("/bin").join(program)));
        assert_eq!(all, [Finding::ok("tools", "/bin/sh, /bin/dockerd, /bin/docker, /bin/curl")]);
        let none = judge(&|_| None);
        assert!(none[0].found.contains("no dockerd (for"), "{none:?}");
        assert!(none[1].about == "tool sh" && none[1].level == Level::Warning, "{none:?}");
    }
}
