//! (e) A plugin in a process of its own, over gRPC on a Unix socket, on one connection that is kept: tonic on both sides,
//! as its documentation has it. HTTP/2 windows are large enough by default for a thousand statuses.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use peers_proto as proto;
use peers_proto::backend_client::BackendClient;
use seawall_model::{Exit, Found, Health, Inspection, Key, Report, State, Status, Timestamp};
use tonic::transport::{Channel, Endpoint};

use crate::peer::Peer;

/// A plugin's process and the connection to it.
pub(crate) struct Grpc {
    child: Child,
    client: BackendClient<Channel>,
    _dir: tempfile::TempDir,
}

impl Grpc {
    /// Starts the process and connects.
    pub(crate) async fn start(server: &Path) -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory")?;
        let socket = dir.path().join("s");
        // It ends when its standard input does, which is when this program does, however that ends.
        let child = Command::new(server).arg(&socket).stdin(Stdio::piped()).spawn();
        let child = child.with_context(|| format!("start {}", server.display()))?;
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).context("name the socket")?;
        let mut tries = 0;
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(error) if tries == 200 => return Err(error).context("connect to the plugin's process"),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Ok(Self { child, client: BackendClient::new(channel), _dir: dir })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn asked(keys: &[Key]) -> proto::InspectRequest {
    let key = |key: &Key| proto::Key {
        session: key.session.as_str().to_owned(),
        incarnation: key.incarnation,
        handle: key.handle.clone(),
    };
    proto::InspectRequest { keys: keys.iter().map(key).collect() }
}

/// What came back, in the host's words. As much is checked as of a guest's answer.
pub(crate) fn inspection(reply: proto::InspectReply, asked: usize) -> Result<Inspection> {
    let mut seen = vec![false; asked];
    let mut found = Vec::with_capacity(reply.found.len().min(asked));
    for answer in reply.found {
        let position = usize::try_from(answer.position).context("a position")?;
        match seen.get_mut(position) {
            None | Some(true) => bail!("position {position} was not asked about or is there twice"),
            Some(first) => *first = true,
        }
        found.push(Found { position, status: status(answer.status.context("a status")?)? });
    }
    Ok(Inspection { found, unknown: Vec::new() })
}

fn status(status: proto::Status) -> Result<Status> {
    let state = match status.state() {
        proto::State::Created => State::Created,
        proto::State::Running => State::Running,
        proto::State::Paused => State::Paused,
        proto::State::Exited => State::Exited,
        proto::State::Dead => State::Dead,
    };
    let health = match status.health() {
        _ if state != State::Running => Health::Unknown,
        proto::Health::Healthy => Health::Healthy,
        proto::Health::Unhealthy => Health::Unhealthy,
        proto::Health::Starting => Health::Starting,
        proto::Health::Unknown => Health::Unknown,
    };
    if status.exit.is_some() != state.ended() {
        bail!("an exit without an end, or an end without an exit");
    }
    Ok(Status {
        state,
        health,
        exit: status.exit.map(exit).transpose()?,
        created_at: status.created_at.map(Timestamp::from_millis),
        started_at: status.started_at.map(Timestamp::from_millis),
        handle: status.handle,
    })
}

fn exit(exit: proto::Exit) -> Result<Exit> {
    Ok(Exit {
        code: exit.code.map(u8::try_from).transpose().context("an exit code")?,
        signal: exit.signal.map(u8::try_from).transpose().context("a signal")?,
        oom: exit.oom_killed,
        message: exit.message,
        at: exit.at.map(Timestamp::from_millis),
    })
}

/// What `check` answered.
pub(crate) fn report(report: proto::Report) -> Report {
    let attributes = report.attributes.into_iter().map(|attribute| (attribute.name, attribute.value));
    Report { version: report.version, attributes: attributes.collect() }
}

/// A request, for whoever carries it by another road.
#[cfg(feature = "extism")]
pub(crate) fn request(keys: &[Key]) -> Vec<u8> {
    prost::Message::encode_to_vec(&asked(keys))
}

#[async_trait]
impl Peer for Grpc {
    async fn check(&self) -> Result<()> {
        let answer = self.client.clone().check(proto::CheckRequest {}).await.context("check")?;
        std::hint::black_box(report(answer.into_inner()));
        Ok(())
    }

    async fn inspect(&self, keys: &[Key]) -> Result<usize> {
        let answer = self.client.clone().inspect(asked(keys)).await.context("inspect")?;
        Ok(std::hint::black_box(inspection(answer.into_inner(), keys.len())?).found.len())
    }
}
