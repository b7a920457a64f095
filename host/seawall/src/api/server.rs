//! The listener and its connections: bound under the data directory's lock, bounded in number and in patience, and
//! joined at the end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::audit::Peer;
use super::socket::Bound;

/// Connections at one time; more of them wait in the listener's queue.
const MAX_CONNECTIONS: usize = 512;
/// A client that has not sent its header by then is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of what is written to it for so long is cut off, and what it held is free again. A pager
/// that somebody left open is such a client.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(600);
/// Of a request's header, and of what waits to be written.
const MAX_HEADER: usize = 64 << 10;
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
                let peer = Peer::of(&stream);
                let mut stream = TimeoutStream::new(stream);
                stream.set_write_timeout(Some(patience));
                let connection = connection(Box::pin(stream), peer, router.clone(), drain.clone(), cut.clone());
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

async fn connection(stream: Stream, peer: Peer, router: Router, drain: CancellationToken, cut: CancellationToken) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), service);
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
