//! The logic as a process of its own that serves gRPC on a Unix socket: how the plugins of Nomad and containerd work.
//!
//! `peers-server SOCKET` serves until its standard input is closed, so that it ends with whoever started it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use peers_proto::backend_server::{Backend, BackendServer};
use peers_proto::{CheckRequest, InspectReply, InspectRequest, Report};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

struct Peer;

#[tonic::async_trait]
impl Backend for Peer {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<Report>, Status> {
        Ok(Response::new(peers_proto::report()))
    }

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectReply>, Status> {
        let request = request.into_inner();
        let answer = peers_proto::inspect(&request);
        if peers_proto::holds(&request) {
            // With the answer in hand, as the calls of the others are held.
            std::future::pending::<()>().await;
        }
        Ok(Response::new(answer))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let socket = PathBuf::from(std::env::args_os().nth(1).context("name the socket")?);
    let listener = UnixListener::bind(&socket).with_context(|| format!("listen at {}", socket.display()))?;
    let (closed, ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(closed);
    });
    let served = Server::builder().add_service(BackendServer::new(Peer));
    let until = async move { _ = ended.await };
    served.serve_with_incoming_shutdown(UnixListenerStream::new(listener), until).await.context("serve")
}
