//! `seawall:host/streams`: handles of what the host moves natively.
//!
//! A capability puts the native stream into the call's table; the runtime takes it out when the plugin hands the
//! handle over. What is left in the table when the call ends is closed by being dropped.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use seawall_backend::{Attachment, ExecEvent, Input, LogChunk, LogStream, Preparation, Source, Wakes};
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

/// Behind the resource `byte-sink`.
pub struct ByteSink {
    /// The input itself.
    pub input: Box<dyn Input>,
    /// Whose it is, which is checked as for a [`ByteStream`].
    pub workload: (SessionId, Incarnation),
}

/// Behind the resource `duplex`.
pub struct Duplex {
    /// Both ways.
    pub attachment: Attachment,
    /// Whose they are, which is checked as for a [`ByteStream`].
    pub workload: (SessionId, Incarnation),
}

/// Behind the resource `preparation`.
pub struct Prepared {
    /// How far it is.
    pub progress: Preparation,
    /// Of what.
    pub reference: String,
}

/// Behind the resource `wake-source`.
pub struct WakeSource {
    /// What may have changed.
    pub wakes: Wakes,
}

impl Context {
    pub(crate) fn push_duplex(&mut self, attachment: Attachment, of: Key) -> Result<Resource<Duplex>, HostError> {
        Ok(self.table.push(Duplex { attachment, workload: (of.session, of.incarnation) })?)
    }

    pub(crate) fn push_sink(&mut self, input: Box<dyn Input>, of: Key) -> Result<Resource<ByteSink>, HostError> {
        Ok(self.table.push(ByteSink { input, workload: (of.session, of.incarnation) })?)
    }

    pub(crate) fn push_preparation(
        &mut self,
        progress: Preparation,
        reference: String,
    ) -> Result<Resource<Prepared>, HostError> {
        Ok(self.table.push(Prepared { progress, reference })?)
    }

    pub(crate) fn push_wakes(&mut self, wakes: Wakes) -> Result<Resource<WakeSource>, HostError> {
        Ok(self.table.push(WakeSource { wakes })?)
    }

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

impl streams::HostByteSink for Context {
    fn drop(&mut self, sink: Resource<ByteSink>) -> wasmtime::Result<()> {
        self.table.delete(sink)?;
        Ok(())
    }
}

impl streams::HostPreparation for Context {
    fn drop(&mut self, preparation: Resource<Prepared>) -> wasmtime::Result<()> {
        self.table.delete(preparation)?;
        Ok(())
    }
}

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
        let execution = seawall_backend::Execution::deaf(Box::pin(events));
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
