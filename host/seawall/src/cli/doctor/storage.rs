//! Where the daemon keeps what it keeps, and where it listens.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::{Finding, shown};
use crate::api;
use crate::config::Settings;

/// With less than this free the daemon soon cannot write.
const LITTLE: u64 = 1 << 30;
/// With less than this it hardly can.
const NOTHING: u64 = 64 << 20;

/// The data directory, the room in it, and the socket.
pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let socket = &settings.socket;
    let socket = match api::check_path(socket) {
        Ok(()) => Finding::ok("socket", socket.display().to_string()),
        Err(error) => Finding::problem("socket", error.to_string(), "name a shorter one with --socket"),
    };
    let mut findings = vec![directory(&settings.data_dir, rustix::process::geteuid().as_raw())];
    findings.extend(room(&settings.data_dir));
    findings.push(socket);
    findings
}

fn directory(path: &Path, user: u32) -> Finding {
    let about = "data directory";
    let name = shown(path).display().to_string();
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return absent(path, &name),
        Err(error) => {
            return Finding::problem(about, format!("{name}: {error}"), "name another one with --data-dir");
        }
    };
    if !found.is_dir() {
        return Finding::problem(about, format!("{name} is no directory"), "name another one with --data-dir");
    }
    if found.uid() != user {
        let says = format!("{name} belongs to user {}, and this is user {user}", found.uid());
        return Finding::problem(about, says, format!("run `chown {user} {name}`, or run Seawall as its owner"));
    }
    let mode = found.mode() & 0o777;
    if mode & 0o022 != 0 {
        let says = format!("{name} can be written to by others (mode {mode:o})");
        return Finding::problem(about, says, format!("run `chmod go-w {name}`"));
    }
    Finding::ok(about, format!("{name}, mode {mode:o}"))
}

fn absent(path: &Path, name: &str) -> Finding {
    let above = path.ancestors().skip(1).find(|above| above.exists());
    match above.filter(|above| access(*above, Access::WRITE_OK | Access::EXEC_OK).is_ok()) {
        Some(_) => Finding::ok("data directory", format!("{name}, which the daemon is going to make")),
        None => Finding::problem(
            "data directory",
            format!("{name} is not there, and this user cannot make it"),
            "make it for this user, or name another one with --data-dir",
        ),
    }
}

fn room(path: &Path) -> Option<Finding> {
    let there = path.ancestors().find(|above| above.exists())?;
    let space = statvfs(there).ok()?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let (about, found) = ("disk", format!("{} MiB free at {}", free >> 20, there.display()));
    let advice = "make room: what is wanted and what happened can no longer be stored on a full disk";
    Some(match free {
        ..NOTHING => Finding::problem(about, found, advice),
        NOTHING..LITTLE => Finding::warning(about, found, advice),
        LITTLE.. => Finding::ok(about, found),
    })
}

/// Whether this user may run it.
pub(super) fn runs(path: &Path) -> bool {
    access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Level;
    use super::*;

    #[test]
    fn a_data_directory_has_to_be_the_users_own_and_nobody_elses_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let user = rustix::process::geteuid().as_raw();
        assert!(directory(&path, user).found.ends_with("is going to make"));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(directory(&path, user).level, Level::Ok);
        assert!(directory(&path, user + 1).advice.unwrap().contains("chown"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(directory(&path, user).advice.unwrap().contains("chmod go-w"));
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(directory(&folder.path().join("file"), user).level, Level::Problem);
    }
}
