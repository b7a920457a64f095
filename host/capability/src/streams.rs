//! `seawall:host/streams`: handles of what the host moves natively.
//!
//! A capability puts the native stream into the call's table; the runtime takes it out when the plugin hands the
//! handle over. What is left in the table when the call ends is closed by being dropped.

use seawall_backend::LogStream;
use seawall_model::{Incarnation, Key, SessionId};
use wasmtime::component::Resource;

use crate::bindings::streams;
use crate::context::Context;
use crate::error::HostError;

/// Behind the resource `byte-stream`.
pub struct ByteStream {
    /// The output itself.
    pub stream: LogStream,
    /// Whose it is: a plugin may open the output of each of its workloads, and is not to hand one over for another.
    pub workload: (SessionId, Incarnation),
}

/// Behind the resource `duplex`. No capability makes one yet, so there is none.
pub enum Duplex {}

/// Behind the resource `wake-source`. No capability makes one yet, so there is none.
pub enum WakeSource {}

impl Context {
    pub(crate) fn push_stream(&mut self, stream: LogStream, of: Key) -> Result<Resource<ByteStream>, HostError> {
        Ok(self.table.push(ByteStream { stream, workload: (of.session, of.incarnation) })?)
    }
}

impl streams::Host for Context {}

impl streams::HostByteStream for Context {
    fn drop(&mut self, stream: Resource<ByteStream>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl streams::HostDuplex for Context {
    fn drop(&mut self, duplex: Resource<Duplex>) -> wasmtime::Result<()> {
        self.table.delete(duplex)?;
        Ok(())
    }
}

impl streams::HostWakeSource for Context {
    fn drop(&mut self, source: Resource<WakeSource>) -> wasmtime::Result<()> {
        self.table.delete(source)?;
        Ok(())
    }
}
