//! Who asks: each request is done for the user at the other end of its connection, and one that is to change anything is
//! a line in the log, whatever became of it.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use tokio::net::UnixStream;
use tracing::{info, warn};

use super::respond::shown;

/// Who is at the other end of a connection: on the Unix socket the user as the kernel knows it.
#[derive(Clone, Debug)]
pub(super) struct Peer(Arc<str>);

impl Peer {
    /// Who connected. What is sent later by whoever was given the connection is sent in this name.
    pub(super) fn of(stream: &UnixStream) -> Self {
        match stream.peer_cred() {
            Ok(credentials) => Self(format!("uid {}", credentials.uid()).into()),
            Err(error) => {
                warn!(%error, "the system does not say who connected");
                Self("unknown".into())
            }
        }
    }
}

/// Does a request for whoever sent it. The events that it causes say who that is.
pub(super) async fn note(request: Request, next: Next) -> Response {
    let actor = request.extensions().get::<Peer>().map(|peer| Arc::clone(&peer.0));
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let line =
        changes.then(|| Line { actor: actor.clone(), of: Some(request.method().clone()), uri: request.uri().clone() });
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
        let (actor, status) = (self.actor.as_deref(), status.map(|status| status.as_u16()));
        let (path, query) = (shown(self.uri.path()), self.uri.query().map(shown));
        info!(actor, %method, path, query, status, "a change was asked for");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.write(None);
    }
}
