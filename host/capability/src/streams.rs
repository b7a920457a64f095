//! `seawall:host/streams`: handles of what the host moves natively.
//!
//! A capability puts the native stream into the call's table; the runtime takes it out when the plugin hands the
//! handle over. What is left in the table when the call ends is closed by being dropped.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use seawall_backend::{ExecEvent, LogChunk, LogStream, Source};
use seawall_model::{CommandEnd, Incarnation, Key, SessionId};
use wasmtime::component::Resource;

use crate::bindings::{streams, types};
use crate::context::Context;
use crate::convert::from_guest;
use crate::error::HostError;
use crate::weight::Weight as _;

/// Behind the resource `byte-stream`.
pub struct ByteStream {
    /// The output itself.
    pub stream: LogStream,
    /// Whose it is: a plugin may open the output of each of its workloads, and is not to hand one over for another.
    pub workload: (SessionId, Incarnation),
}

/// Behind the resource `execution`.
pub struct Execution {
    /// The command itself.
    pub execution: seawall_backend::Execution,
    /// Where it runs, which is checked as for a [`ByteStream`].
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

    pub(crate) fn push_execution(
        &mut self,
        execution: seawall_backend::Execution,
        of: Key,
    ) -> Result<Resource<Execution>, HostError> {
        Ok(self.table.push(Execution { execution, workload: (of.session, of.incarnation) })?)
    }
}

impl streams::Host for Context {}

impl streams::HostByteStream for Context {
    fn drop(&mut self, stream: Resource<ByteStream>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl streams::HostExecution for Context {
    fn from_result(
        &mut self,
        key: types::Key,
        output: Vec<u8>,
        code: Option<u8>,
        after: u64,
    ) -> wasmtime::Result<Resource<Execution>> {
        self.enter(key.weight() + output.weight())?;
        let key = from_guest::key(key).map_err(wasmtime::Error::from)?;
        let chunk = LogChunk { source: Source::Stdout, bytes: Bytes::from(output) };
        let wrote = (!chunk.bytes.is_empty()).then(|| Ok(ExecEvent::Output(chunk)));
        let (after, end) = (Duration::from_millis(after), code.map_or(CommandEnd::TimedOut, CommandEnd::Code));
        let ended = futures_util::stream::once(async move {
            tokio::time::sleep(after).await;
            Ok(ExecEvent::Ended(end))
        });
        let events = futures_util::stream::iter(wrote).chain(ended);
        let execution = seawall_backend::Execution { events: Box::pin(events) };
        self.push_execution(execution, key).map_err(HostError::into_trap)
    }

    fn drop(&mut self, execution: Resource<Execution>) -> wasmtime::Result<()> {
        self.table.delete(execution)?;
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
