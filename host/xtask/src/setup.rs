//! Installs what demo and test need and cargo cannot bring: `make`, and a Docker Engine to start privately.
//!
//! On Debian as root it calls apt-get and says so; elsewhere it says exactly what to install. It never starts an
//! engine of the system, and never uses one that runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{plugins, say, workspace};

/// A program that is needed, and where it comes from.
struct Need {
    /// Found in `PATH`.
    program: &'static str,
    /// Debian's package.
    package: &'static str,
    /// What for.
    why: &'static str,
}

const NEEDS: [Need; 4] = [
    Need { program: "dockerd", package: "docker.io", why: "a private Docker Engine" },
    Need { program: "docker", package: "docker.io", why: "the command line of that engine" },
    Need { program: "iptables", package: "iptables", why: "the engine's network" },
    Need { program: "busybox", package: "busybox-static", why: "the only image that the containers here are made of" },
];

/// Programs of the administrator are not always in the `PATH` of others.
const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether tests that need Docker can run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Docker {
    /// Everything is installed and this is root.
    Available,
    /// It is not, for this reason.
    Missing(String),
}

/// Runs this program again with the administrator's programs in its `PATH`, unless they are: after `su` they are not,
/// and whatever is started from here looks for them there.
pub(crate) fn complete_path() -> Result<()> {
    use std::os::unix::process::CommandExt as _;

    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let missing: Vec<_> = PLACES.iter().map(PathBuf::from).filter(|place| !all.contains(place)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    all.extend(missing);
    let own = std::env::current_exe().context("find this program")?;
    let path = std::env::join_paths(all).context("join PATH")?;
    let error = Command::new(own).args(std::env::args_os().skip(1)).env("PATH", path).exec();
    Err(error).context("start again with a complete PATH")
}

/// `cargo xtask setup`.
pub(crate) fn run() -> Result<()> {
    say::heading("Setup");
    match docker()? {
        Docker::Available => say::holds("a private Docker Engine can be started"),
        Docker::Missing(why) => say::warn(format_args!("without Docker: {why}")),
    }
    plugins::run(false)
}

/// Sees to everything that a private engine needs. What is missing is installed where that is possible.
///
/// # Errors
/// An installation was tried and failed; or `CI=true` and Docker is not to be had.
pub(crate) fn docker() -> Result<Docker> {
    let found = look()?;
    if let Docker::Missing(why) = &found {
        ensure!(!in_ci(), "CI=true, and tests that need Docker would be skipped: {why}");
    }
    Ok(found)
}

/// A run that must not skip anything.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

fn look() -> Result<Docker> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !installed(need.program)).collect();
    let mut packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    packages.dedup();
    let root = rustix::process::geteuid().is_root();
    if missing.is_empty() {
        return Ok(if root {
            Docker::Available
        } else {
            Docker::Missing("a private engine needs root; run the same command as root".to_owned())
        });
    }

    let list = packages.join(" ");
    let by_hand = format!("apt-get install -y --no-install-recommends {list}");
    if !installed("apt-get") {
        let programs: Vec<_> = missing.iter().map(|need| need.program).collect();
        let programs = programs.join(", ");
        return Ok(Docker::Missing(format!(
            "missing: {programs}. This is no Debian: install them by its own means (there: {by_hand})"
        )));
    }
    if !root {
        return Ok(Docker::Missing(format!("as root: {by_hand}; a private engine needs root too")));
    }

    for need in &missing {
        say::note(format_args!("installing {} ({}): {}", need.package, need.program, need.why));
    }
    // An installed engine is started by its package. Here it is only wanted as a program.
    let _quiet = NoServices::hold()?;
    say::command("apt-get update");
    workspace::run(apt().arg("update").arg("-qq"), "apt-get update")?;
    say::command(&by_hand);
    workspace::run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages), "apt-get install")?;
    for need in &missing {
        ensure!(installed(need.program), "{} was installed, and `{}` is still missing", need.package, need.program);
    }
    Ok(Docker::Available)
}

/// Sees to a C++ compiler, which libFuzzer is compiled with. Only fuzzing needs one.
///
/// # Errors
/// There is none, and it cannot be installed from here; or that was tried and failed.
pub(crate) fn compiler() -> Result<()> {
    require(&Need { program: "c++", package: "g++", why: "libFuzzer is compiled with it" })
}

/// Sees to `make`, by which the daemon's allocator is compiled.
///
/// # Errors
/// As [`compiler`].
pub(crate) fn make() -> Result<()> {
    require(&Need { program: "make", package: "make", why: "the daemon's allocator is compiled by it" })
}

fn require(need: &Need) -> Result<()> {
    let Need { program, package, why } = need;
    if installed(program) {
        return Ok(());
    }
    let by_hand = format!("apt-get install -y --no-install-recommends {package}");
    ensure!(
        installed("apt-get") && rustix::process::geteuid().is_root(),
        "`{program}` is missing: {why}; as root: {by_hand}"
    );
    say::note(format_args!("installing {package} ({program}): {why}"));
    say::command("apt-get update");
    workspace::run(apt().arg("update").arg("-qq"), "apt-get update")?;
    say::command(&by_hand);
    workspace::run(apt().args(["install", "-y", "-qq", "--no-install-recommends", package]), "apt-get install")?;
    ensure!(installed(program), "{package} was installed, and `{program}` is still missing");
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// While it lives, packages that are installed start no service: Debian asks `/usr/sbin/policy-rc.d`, and 101 is "no".
/// Where the machine has such a file, its own word stands.
struct NoServices {
    written: bool,
}

impl NoServices {
    const FILE: &str = "/usr/sbin/policy-rc.d";

    fn hold() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;

        if Path::new(Self::FILE).exists() {
            return Ok(Self { written: false });
        }
        std::fs::write(Self::FILE, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {}", Self::FILE))?;
        let held = Self { written: true };
        std::fs::set_permissions(Self::FILE, std::fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {} executable", Self::FILE))?;
        say::note(format_args!("{} keeps the packages from starting services; it is removed again", Self::FILE));
        Ok(held)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.written
            && let Err(error) = std::fs::remove_file(Self::FILE)
        {
            say::warn(format_args!("remove {} by hand: {error}", Self::FILE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_path() {
        assert!(installed("sh"));
        assert!(!installed("no-such-program-of-seawall"));
    }
}
