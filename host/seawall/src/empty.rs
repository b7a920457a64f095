//! The server with nothing behind it, for benchmarks to compare with and for nobody else.

use std::path::Path;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::api::{Door, Server, WRITE_TIMEOUT, bind, empty_router};

/// Serves the routes of lists and creations on this socket until `end`: the same server, and handlers that give what they
/// were given. `created` is what a creation answers.
///
/// # Errors
/// The socket cannot be bound.
pub async fn serve(
    socket: &Path,
    list: Bytes,
    created: Bytes,
    end: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let server = Server::spawn([Door::Unix(bind(socket)?)], empty_router(list, created), end.clone(), WRITE_TIMEOUT);
    end.cancelled().await;
    server.shutdown(WRITE_TIMEOUT).await;
    Ok(())
}
