//! The data directory and the lock on it.
//!
//! The lock is an flock(2) on `DIR/lock`, taken before anything else in the directory is touched and held until the
//! last connection is closed. The kernel gives it up with the process, however that ends. The file also says who holds
//! it and which store lives here, so that a database that vanished is not taken for a first start.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use seawall_model::StoreId;

use crate::OpenError;

/// Others than the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The lock on a data directory, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Makes the directory if it is not there, checks that it can be trusted, and takes the lock.
    pub(crate) fn take(dir: &Path) -> Result<Self, OpenError> {
        let in_dir = |error: io::Error| OpenError::from_io(dir, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(in_dir)?;
        trusted(dir)?;

        let path = dir.join("lock");
        let in_file = |error: io::Error| OpenError::from_io(&path, &error);
        let file = private(&path).map_err(in_file)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = contents(&file).ok().and_then(|text| text.lines().next()?.trim().parse().ok());
                return Err(OpenError::Locked { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(in_file(error)),
        }
        let lock = Self { file, path };
        lock.sign(lock.store().as_ref())?;
        Ok(lock)
    }

    /// The store that lived here when the directory was last opened.
    pub(crate) fn store(&self) -> Option<StoreId> {
        contents(&self.file).ok()?.lines().nth(1)?.trim().parse().ok()
    }

    /// Writes who holds the lock, and which store is here if that is known.
    pub(crate) fn sign(&self, store: Option<&StoreId>) -> Result<(), OpenError> {
        // The pid has a fixed width, so that one write replaces the old text and nothing is in between.
        let mut text = format!("{:<10}\n", std::process::id());
        if let Some(store) = store {
            text.push_str(&format!("{store}\n"));
        }
        self.file.write_all_at(text.as_bytes(), 0).map_err(|error| OpenError::from_io(&self.path, &error))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that was forked and has not executed its program yet has the file open as well.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, lock = %self.path.display(), "the lock was not given up cleanly");
        }
    }
}

/// Opens a file that only its owner may read, and makes it if it is not there.
pub(crate) fn private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(file)
}

fn contents(mut file: &File) -> io::Result<String> {
    let mut text = String::new();
    io::Seek::rewind(&mut file)?;
    file.take(64).read_to_string(&mut text)?;
    Ok(text)
}

fn trusted(dir: &Path) -> Result<(), OpenError> {
    let found = dir.metadata().map_err(|error| OpenError::from_io(dir, &error))?;
    let refuse = |why: String| Err(OpenError::Untrusted { dir: dir.to_owned(), why });
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        return refuse(format!(
            "it belongs to user {}, and this is user {user}: run `chown {user} {}`",
            found.uid(),
            dir.display()
        ));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return refuse(format!("others may write in it: run `chmod go-w {}`", dir.display()));
    }
    Ok(())
}
