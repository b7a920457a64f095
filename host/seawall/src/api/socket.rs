//! The Unix socket: for its owner only, in a directory where nobody else can put another in its place.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tracing::warn;

use crate::app::StartError;

/// `sockaddr_un` has 108 bytes, the last of them a zero.
const MAX_PATH: usize = 107;

/// A socket that is bound and does not answer yet. Its file goes when this does.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode, by which the file is known again.
    identity: (u64, u64),
}

/// Refuses a path that no socket can have, before anything is made for it.
///
/// # Errors
/// It is too long.
pub(crate) fn check_path(path: &Path) -> Result<(), StartError> {
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        return Err(StartError::SocketTooLong { path: path.to_owned(), length, most: MAX_PATH });
    }
    Ok(())
}

/// Refuses a path where [`bind`] would refuse it, as far as that can be said without making anything.
///
/// # Errors
/// The path is too long, or others may write where it lies.
pub(crate) fn check(path: &Path) -> Result<(), StartError> {
    check_path(path)?;
    match path.parent().filter(|parent| parent.exists()) {
        Some(parent) => guard(path, parent),
        None => Ok(()),
    }
}

/// Binds the socket, for its owner only. The caller holds the data directory's lock: a socket that is left over there
/// belongs to nobody.
///
/// # Errors
/// The path is too long, others may write where it lies, somebody answers there, or the system refuses.
pub(crate) fn bind(path: &Path) -> Result<Bound, StartError> {
    check_path(path)?;
    let fail = |source| StartError::Socket { path: path.to_owned(), source };
    let parent = path.parent().ok_or_else(|| fail(io::Error::other("it has no parent directory")))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(fail)?;
    guard(path, parent)?;
    if occupied(path).map_err(fail)? {
        return Err(StartError::SocketInUse { path: path.to_owned() });
    }
    // Made under another name and then moved into place: nobody meets a socket that others may still open, and a
    // socket that is left over is replaced in one step.
    let fresh = parent.join(format!(".s{}", std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(fail)?;
    let placed = std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&fresh, path))
        .and_then(|()| identity(path));
    match placed {
        Ok(identity) => Ok(Bound { listener, path: path.to_owned(), identity }),
        Err(error) => {
            let _ = std::fs::remove_file(&fresh);
            Err(fail(error))
        }
    }
}

/// Refuses a directory in which others may put a socket of their own in place of this one, and be taken for the daemon:
/// with a sticky bit they cannot, but may still be first.
fn guard(path: &Path, parent: &Path) -> Result<(), StartError> {
    let about = std::fs::metadata(parent).map_err(|source| StartError::Socket { path: path.to_owned(), source })?;
    let exposed = |why: String| StartError::SocketExposed { path: path.to_owned(), directory: parent.to_owned(), why };
    let (mode, owner, own) = (about.mode(), about.uid(), rustix::process::geteuid().as_raw());
    if owner != own && owner != 0 {
        return Err(exposed(format!("belongs to user {owner}")));
    }
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(exposed(format!("may be written by everybody (mode {:o})", mode & 0o7777)));
    }
    if mode & 0o022 != 0 {
        warn!(
            directory = %parent.display(), mode = %format_args!("{:o}", mode & 0o7777),
            "others may write in the socket's directory: while no daemon runs, they can answer in its place"
        );
    }
    Ok(())
}

/// Whether somebody answers at the socket. What is no socket is never removed.
fn occupied(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(about) if !about.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there; move it away"))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
            Err(error) => Err(error),
        },
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|about| (about.dev(), about.ino()))
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Another daemon may have put its own there since.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_owners_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/s");
        let bound = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(bind(&path), Err(StartError::SocketInUse { .. })));
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_is_left_over_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let stale = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        bind(&stale).unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "mine").unwrap();
        assert!(matches!(bind(&file), Err(StartError::Socket { .. })));
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_directory_that_everybody_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        let path = open.join("s");
        for (mode, refused) in [(0o777, true), (0o702, true), (0o1777, false), (0o770, false), (0o755, false)] {
            std::fs::set_permissions(&open, std::fs::Permissions::from_mode(mode)).unwrap();
            match bind(&path) {
                Err(StartError::SocketExposed { directory, .. }) => assert!(refused && directory == open, "{mode:o}"),
                bound => assert!(bound.is_ok() && !refused, "{mode:o}"),
            }
            assert!(!path.exists(), "{mode:o}");
        }
    }

    #[tokio::test]
    async fn a_directory_of_another_user_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
        let refused = bind(&folder.path().join("s"));
        assert!(matches!(&refused, Err(StartError::SocketExposed { why, .. }) if why.contains("65534")));
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_refused_by_its_length() {
        let path = Path::new("/tmp").join("x".repeat(104));
        assert!(matches!(bind(&path), Err(StartError::SocketTooLong { length: 109, .. })));
    }
}
