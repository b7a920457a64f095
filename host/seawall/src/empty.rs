//! The server with nothing behind it, for benchmarks to compare with and for nobody else.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::api::{Door, Server, WRITE_TIMEOUT, bind, empty_router};

/// What a handler does in its own thread, and other tasks are not held up by.
pub type First = Arc<dyn Fn() + Send + Sync>;

/// Serves the routes of lists and creations on this socket until `end`: the same server, and handlers that give what they
/// were given. `created` is what a creation answers, once it has done `first`.
///
/// # Errors
/// The socket cannot be bound.
pub async fn serve(
    socket: &Path,
    list: Bytes,
    created: Bytes,
    first: Option<First>,
    end: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let router = empty_router(list, created, first);
    let server = Server::spawn([Door::Unix(bind(socket)?)], router, end.clone(), WRITE_TIMEOUT);
    end.cancelled().await;
    server.shutdown(WRITE_TIMEOUT).await;
    Ok(())
}
