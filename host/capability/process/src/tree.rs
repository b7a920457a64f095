//! Removing a directory that a session may have filled.
//!
//! A session nests directories as deep as it likes. Whoever removes them by recursion needs a descriptor and a stack
//! frame for each level, so that the session cannot be removed, or the daemon ends with its stack overflown. Here a
//! directory that is met below the first level is moved up to it before it is emptied: two descriptors and no
//! recursion, whatever the tree. Links are removed, never followed.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, fchmod, fchown, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Removes `path` and all that is in it. One that is not there is success.
///
/// # Errors
/// Something in it cannot be removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(unlinkat(CWD, path, AtFlags::empty())?),
        Err(error) => return Err(error.into()),
    };
    let mut moved = 0_u64;
    while empty(&top, |name| remove_directory(&top, name, &mut moved))? {}
    Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// Empties and removes a directory of the first level. What it holds of directories joins it there.
fn remove_directory(top: &OwnedFd, name: &CStr, moved: &mut u64) -> Result<(), Errno> {
    let directory = match open(top, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    // Another session of the same user could go on filling it. Only root can keep it from that.
    let _ = fchown(&directory, Some(geteuid()), None);
    let _ = fchmod(&directory, Mode::RWXU);
    while empty(&directory, |inner| move_up(&directory, inner, top, moved))? {}
    match unlinkat(top, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> Result<(), Errno> {
    // Most are empty or nearly so, and need not move.
    if unlinkat(from, name, AtFlags::REMOVEDIR).is_ok() {
        return Ok(());
    }
    loop {
        *moved += 1;
        match renameat_with(from, name, top, moved.to_string(), RenameFlags::NOREPLACE) {
            // Left by an earlier try that was cut off.
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(()),
            other => return other,
        }
    }
}

/// Removes all that is no directory, and gives each directory to `meet`. Whether anything was there: what is removed
/// while it is being listed may hide something else, which the next look shows.
fn empty(directory: &OwnedFd, mut meet: impl FnMut(&CStr) -> Result<(), Errno>) -> Result<bool, Errno> {
    let mut any = false;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        any = true;
        match unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => meet(name)?,
            Err(error) => return Err(error),
        }
    }
    Ok(any)
}

fn open(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// With a frame a level it takes more than the stack that the test gives it.
    const DEEP: usize = 1000;

    fn nest(base: &Path, levels: usize) {
        let mut at = open(CWD, base).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open(&at, "d").unwrap();
        }
    }

    #[test]
    fn no_depth_is_too_deep_to_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("work")).unwrap();
        nest(&tree.join("work"), DEEP);
        let small = std::thread::Builder::new().stack_size(64 << 10);
        small.spawn(move || remove(&tree)).unwrap().join().unwrap().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn everything_goes_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, kept) = (dir.path().join("tree"), dir.path().join("kept"));
        fs::create_dir_all(&kept).unwrap();
        fs::write(kept.join("file"), "stays").unwrap();
        for inner in ["a/b/c", "a/b2", "1", "2/3"] {
            fs::create_dir_all(tree.join(inner)).unwrap();
            fs::write(tree.join(inner).join("file"), "goes").unwrap();
            symlink(&kept, tree.join(inner).join("link")).unwrap();
        }
        fs::set_permissions(tree.join("a/b2"), fs::Permissions::from_mode(0o500)).unwrap();
        remove(&tree).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());

        symlink(&kept, &tree).unwrap();
        remove(&tree).unwrap();
        assert!(tree.symlink_metadata().is_err(), "the link itself");
        assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), "stays");
    }
}
