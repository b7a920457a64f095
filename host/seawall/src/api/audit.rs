//! Who asks: each request is done for the user at the other end of its connection or for the bearer of its token, and one
//! that is to change anything is a line in the log, whatever became of it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use seawall_store::Scope;
use tokio::net::UnixStream;
use tracing::{info, warn};

use super::respond::shown;
use crate::problem::{Kind, Problem};

/// Who is at the other end of a connection. What is sent later by whoever was given the connection is sent in this name.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// On the Unix socket: the user as the kernel knows it.
    Local(Arc<str>),
    /// Over TCP. Nobody yet: see [`super::admission`].
    Remote(SocketAddr),
}

/// Who a request is done for: `uid 1000`, `token ci`.
#[derive(Clone, Debug)]
pub(super) struct Actor(pub(super) Arc<str>);

/// What whoever asks may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted(pub(super) Scope);

impl Peer {
    /// Who connected to the socket.
    pub(super) fn local(stream: &UnixStream) -> Self {
        match stream.peer_cred() {
            Ok(credentials) => Self::Local(format!("uid {}", credentials.uid()).into()),
            Err(error) => {
                warn!(%error, "the system does not say who connected");
                Self::Local("unknown".into())
            }
        }
    }

    /// Somebody far away.
    pub(super) fn remote(from: SocketAddr) -> Self {
        Self::Remote(from)
    }
}

impl Granted {
    /// Why that is not enough.
    pub(super) fn too_little(has: Scope, needed: Scope) -> Problem {
        let (has, needed) = (has.as_str(), needed.as_str());
        Problem::new(Kind::Denied, format!("the scope of the token is {has}, and this needs {needed}"))
    }
}

/// Does a request for whoever sent it. The events that it causes say who that is.
pub(super) async fn note(request: Request, next: Next) -> Response {
    let actor = request.extensions().get::<Actor>().map(|actor| Arc::clone(&actor.0));
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let of = changes.then(|| request.method().clone());
    let line = of.map(|of| Line { actor: actor.clone(), of: Some(of), uri: request.uri().clone() });
    let response = match actor {
        Some(actor) => seawall_control::acting(actor, next.run(request)).await,
        None => next.run(request).await,
    };
    if let Some(line) = line {
        line.answered(response.status());
    }
    response
}

/// A line that is written in any case: also about a request whose client went away before the answer.
struct Line {
    actor: Option<Arc<str>>,
    /// The method, until the line is written.
    of: Option<Method>,
    uri: Uri,
}

impl Line {
    fn answered(mut self, status: StatusCode) {
        self.write(Some(status));
    }

    fn write(&mut self, status: Option<StatusCode>) {
        let Some(method) = self.of.take() else { return };
        let (actor, uri) = (self.actor.take(), std::mem::take(&mut self.uri));
        seawall_control::log_later(move || {
            let (actor, status) = (actor.as_deref(), status.map(|status| status.as_u16()));
            let (path, query) = (shown(uri.path()), uri.query().map(shown));
            info!(actor, %method, path, query, status, "a change was asked for");
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.write(None);
    }
}
