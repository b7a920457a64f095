//! The listener and its connections: bound under the data directory's lock, bounded in number and in patience, and
//! joined at the end.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::app::StartError;

/// Connections at one time; more of them wait in the listener's queue.
const MAX_CONNECTIONS: usize = 512;
/// A client that has not sent its header by then is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of what is written to it for so long is cut off, and what it held is free again. A pager
/// that somebody left open is such a client.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(600);
/// Of a request's header, and of what waits to be written.
const MAX_HEADER: usize = 64 << 10;
/// `sockaddr_un` has 108 bytes, the last of them a zero.
const MAX_PATH: usize = 107;

/// A socket that is bound and does not answer yet. Its file goes when this does.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: UnixListener,
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

/// Binds the socket, for its owner only. The caller holds the data directory's lock: a socket that is left over there
/// belongs to nobody.
///
/// # Errors
/// The path is too long, somebody answers there, or the system refuses.
pub(crate) fn bind(path: &Path) -> Result<Bound, StartError> {
    check_path(path)?;
    let fail = |source| StartError::Socket { path: path.to_owned(), source };
    let parent = path.parent().ok_or_else(|| fail(io::Error::other("it has no parent directory")))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(fail)?;
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

/// A server that runs. Owns the accepting task and one task a connection.
#[derive(Debug)]
pub(crate) struct Server {
    tasks: TaskTracker,
    /// No new connections; those there are finish what they are at.
    drain: CancellationToken,
    /// Those that are left are cut off.
    cut: CancellationToken,
}

impl Server {
    /// Begins to answer. `drain` is the token that streams end with; for `patience` see [`WRITE_TIMEOUT`].
    pub(crate) fn spawn(bound: Bound, router: Router, drain: CancellationToken, patience: Duration) -> Self {
        let server = Self { tasks: TaskTracker::new(), drain, cut: CancellationToken::new() };
        let accept = accept(bound, router, server.tasks.clone(), server.drain.clone(), server.cut.clone(), patience);
        server.tasks.spawn(accept);
        server
    }

    /// Connections that are there now.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.tasks.len().saturating_sub(1)
    }

    /// Streams are told to end, and nobody new is let in. Requests that are there go on.
    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends it: streams are told, requests finish, and what is left at the deadline is cut off.
    pub(crate) async fn shutdown(self, deadline: Duration) {
        self.drain.cancel();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
            warn!(connections = self.tasks.len(), "requests were cut off");
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}

async fn accept(
    bound: Bound,
    router: Router,
    tasks: TaskTracker,
    drain: CancellationToken,
    cut: CancellationToken,
    patience: Duration,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, bound.listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            // Cancel-safe: a connection that was not accepted stays in the queue, a permit goes back.
            () = drain.cancelled() => return,
            next = next => next,
        };
        let Ok(permit) = permit else { return };
        match accepted {
            Ok((stream, _)) => {
                let mut stream = TimeoutStream::new(stream);
                stream.set_write_timeout(Some(patience));
                let connection = connection(Box::pin(stream), router.clone(), drain.clone(), cut.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Most often there are no file descriptors left: some must be closed first.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

type Stream = Pin<Box<TimeoutStream<UnixStream>>>;

async fn connection(stream: Stream, router: Router, drain: CancellationToken, cut: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let mut draining = false;
    let ended = loop {
        tokio::select! {
            // Cancel-safe: the connection is polled on in the next round.
            ended = connection.as_mut() => break ended,
            () = drain.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = cut.cancelled() => return,
        }
    };
    if let Err(error) = ended {
        debug!(error = %crate::exit::chain(&error), "a connection broke");
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
    async fn a_path_that_is_too_long_is_refused_by_its_length() {
        let path = Path::new("/tmp").join("x".repeat(104));
        assert!(matches!(bind(&path), Err(StartError::SocketTooLong { length: 109, .. })));
    }
}
