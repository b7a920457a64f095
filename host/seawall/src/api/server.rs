//! What was bound, and its connections: bounded in number and in patience, and joined at the end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::audit::Peer;
use super::{socket, tcp};

/// Connections of one door at one time; more of them wait in the listener's queue. Strangers who fill the one leave the
/// other as it is.
const MAX_CONNECTIONS: usize = 512;
/// A client that has not sent its header by then is cut off; before that, one that has not agreed on TLS.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of what is written to it for so long is cut off, and what it held is free again. A pager
/// that somebody left open is such a client.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(600);
/// Of a request's header, and of what waits to be written.
const MAX_HEADER: usize = 64 << 10;

/// Where clients come in.
pub(crate) enum Door {
    /// Only those who may open the socket.
    Unix(socket::Bound),
    /// Whoever reaches the address.
    Tcp(tcp::Listener),
}

/// Who came in.
enum Arrival {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

impl Door {
    /// Cancel-safe: a connection that was not accepted stays in the queue.
    async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Unix(bound) => bound.listener.accept().await.map(|(stream, _)| Arrival::Unix(stream)),
            Self::Tcp(bound) => bound.listener.accept().await.map(|(stream, from)| Arrival::Tcp(stream, from)),
        }
    }
}

/// A server that runs. Owns an accepting task a door and one task a connection.
#[derive(Debug)]
pub(crate) struct Server {
    tasks: TaskTracker,
    /// Streams end, and it is no longer ready. New connections are let in, so that this can be asked.
    drain: CancellationToken,
    /// No new connections; those there are finish what they are at.
    close: CancellationToken,
    /// Those that are left are cut off.
    cut: CancellationToken,
}

impl Server {
    /// Begins to answer. `drain` is the token that streams end with; for `patience` see [`WRITE_TIMEOUT`].
    pub(crate) fn spawn(
        doors: impl IntoIterator<Item = Door>,
        router: Router,
        drain: CancellationToken,
        patience: Duration,
    ) -> Self {
        let server =
            Self { tasks: TaskTracker::new(), drain, close: CancellationToken::new(), cut: CancellationToken::new() };
        let terms = Terms { router, close: server.close.clone(), cut: server.cut.clone(), patience };
        for door in doors {
            server.tasks.spawn(accept(door, server.tasks.clone(), terms.clone()));
        }
        server
    }

    /// Connections that are there now.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        // One door, in tests.
        self.tasks.len().saturating_sub(1)
    }

    /// Streams are told to end, and whoever asks is told that it is not ready. Everything else is answered as long as it
    /// can be.
    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends it: streams are told, requests finish, and what is left at the deadline is cut off.
    pub(crate) async fn shutdown(self, deadline: Duration) {
        self.drain.cancel();
        self.close.cancel();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
            warn!(connections = self.tasks.len(), "requests were cut off");
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}

/// What every connection is given.
#[derive(Clone)]
struct Terms {
    router: Router,
    close: CancellationToken,
    cut: CancellationToken,
    patience: Duration,
}

/// What a handler needs that takes its connection over: it stays one of the server's, in its number and in its end.
#[derive(Clone)]
pub(super) struct Own {
    tasks: TaskTracker,
    cut: CancellationToken,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Own {
    /// Goes on with the connection until `work` is done or the server cuts it off.
    pub(super) fn spawn(self, work: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                // Cancel-safe: nothing is left of a connection that is cut off.
                () = self.cut.cancelled() => {}
                () = work => {}
            }
        });
    }
}

async fn accept(door: Door, tasks: TaskTracker, terms: Terms) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, door.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            // Cancel-safe: a connection that was not accepted stays in the queue, a permit goes back.
            () = terms.close.cancelled() => return,
            next = next => next,
        };
        let Ok(permit) = permit else { return };
        match accepted {
            Ok(arrival) => {
                let tls = match &door {
                    Door::Unix(_) => None,
                    Door::Tcp(bound) => bound.tls.clone(),
                };
                let terms = terms.clone();
                let own = Own { tasks: tasks.clone(), cut: terms.cut.clone(), _permit: Arc::new(permit) };
                tasks.spawn(seawall_control::answering(serve(arrival, tls, terms, own)));
            }
            Err(error) => {
                // Most often there are no file descriptors left: some must be closed first.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(arrival: Arrival, tls: Option<tokio_rustls::TlsAcceptor>, terms: Terms, own: Own) {
    let (stream, from) = match arrival {
        Arrival::Unix(stream) => {
            let peer = Peer::local(&stream);
            return connection(stream, peer, terms, own).await;
        }
        Arrival::Tcp(stream, from) => (stream, from),
    };
    // Small answers do not wait for more to send.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return connection(stream, Peer::remote(from), terms, own).await };
    let agreed = tokio::select! {
        // Cancel-safe: nothing was asked yet.
        () = terms.close.cancelled() => return,
        agreed = tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream)) => agreed,
    };
    match agreed {
        Ok(Ok(stream)) => connection(stream, Peer::remote(from), terms, own).await,
        Ok(Err(error)) => debug!(%from, %error, "there was no agreement on TLS"),
        Err(_) => debug!(%from, "there was no agreement on TLS in time"),
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Send + 'static, peer: Peer, terms: Terms, own: Own) {
    let Terms { router, close, cut, patience } = terms;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience));
    let stream: Pin<Box<TimeoutStream<_>>> = Box::pin(stream);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(own.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut closing = false;
    let ended = loop {
        tokio::select! {
            // Cancel-safe: the connection is polled on in the next round.
            ended = connection.as_mut() => break ended,
            () = close.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = cut.cancelled() => return,
        }
    };
    if let Err(error) = ended {
        debug!(error = %crate::exit::chain(&error), "a connection broke");
    }
}
