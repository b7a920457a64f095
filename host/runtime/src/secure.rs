//! Whether a directory can be trusted: nobody but its owner, or root, could have put something into it.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a directory cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untrusted {
    /// It cannot be made or looked at.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, not to user {us} or root", path.display())]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Others can write to it.
    #[error("{} can be written by others (mode {mode:o}); `chmod go-w` it", path.display())]
    Writable {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// Which.
        path: PathBuf,
    },
}

/// Makes the directory with mode 0700 if it is not there, and checks it and every directory above it. Gives its path
/// without symbolic links.
pub(crate) fn directory(path: &Path) -> Result<PathBuf, Untrusted> {
    let failed = |source| Untrusted::Io { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let real = path.canonicalize().map_err(failed)?;
    let us = rustix::process::geteuid().as_raw();
    for (depth, dir) in real.ancestors().enumerate() {
        let metadata =
            std::fs::symlink_metadata(dir).map_err(|source| Untrusted::Io { path: dir.to_owned(), source })?;
        let mode = metadata.mode() & 0o7777;
        let path = || dir.to_owned();
        if !metadata.is_dir() {
            return Err(Untrusted::NotADirectory { path: path() });
        }
        // The directory itself is ours; above it root is trusted as well.
        if metadata.uid() != us && (depth == 0 || metadata.uid() != 0) {
            return Err(Untrusted::Owner { path: path(), owner: metadata.uid(), us });
        }
        if depth == 0 {
            if mode & 0o077 != 0 {
                std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
            }
            // What others may have put there before that is found out by its MAC.
        } else if mode & 0o022 != 0 && mode & 0o1000 == 0 {
            // A sticky directory such as /tmp is fine: nobody else can rename or remove what is ours in it.
            return Err(Untrusted::Writable { path: path(), mode });
        }
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_can_write_above_is_not_trusted() {
        let temp = tempfile::tempdir().unwrap();
        let open = temp.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = directory(&open.join("cache")).unwrap_err();
        assert!(matches!(error, Untrusted::Writable { .. }), "{error}");
    }

    #[test]
    fn a_new_directory_is_private() {
        let temp = tempfile::tempdir().unwrap();
        let dir = directory(&temp.path().join("a/b")).unwrap();
        assert_eq!(std::fs::metadata(dir).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_is_no_directory() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        assert!(directory(&temp.path().join("file")).is_err());
    }
}
