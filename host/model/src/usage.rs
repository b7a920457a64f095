//! What a workload uses, and where it is reached: the same words as `wit/host/types.wit`.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{Protocol, Timestamp};

/// Bytes in and out, since the workload started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Transfer {
    /// Received, or read.
    pub incoming: u64,
    /// Sent, or written.
    pub outgoing: u64,
}

/// What a workload uses. What its engine cannot tell is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Usage {
    /// When this was measured.
    pub at: Timestamp,
    /// Processor time of all its tasks since it started, in nanoseconds.
    pub cpu_time: Option<u64>,
    /// Bytes, without what the kernel could drop at once.
    pub memory: Option<u64>,
    /// Bytes; absent without a limit.
    pub memory_limit: Option<u64>,
    /// Number of tasks now.
    pub processes: Option<u64>,
    /// Number of tasks that it may have; absent without a limit.
    pub processes_limit: Option<u64>,
    /// Over its networks.
    pub network: Option<Transfer>,
    /// From and to disks.
    pub disk: Option<Transfer>,
}

/// One answer of a batch, by its position in the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Index into the keys that were asked about.
    pub position: usize,
    /// What that one uses.
    pub usage: Usage,
}

/// Where a port of a workload is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Endpoint {
    /// The port that the workload listens on.
    pub container: u16,
    /// Of both ports.
    pub protocol: Protocol,
    /// Where the engine listens for it.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub address: IpAddr,
    /// On that address.
    pub port: u16,
}

impl Endpoint {
    /// Where the engine listens.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}
