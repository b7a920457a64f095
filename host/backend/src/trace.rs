//! Which calls belong together. Whoever begins something (a request, a sweep, a check, a worker) does it within a trace,
//! and every call to a backend is made within one: its lines in the log and its errors carry the trace's id.
//!
//! The id travels with the task, not in a span, since it must be there whatever the log leaves out. A task that is
//! spawned is handed it by whoever spawns it.
//!
//! Spans tell how long each piece of work took and which piece it was a part of. Those of a piece of work are of the level
//! `debug`, from a request over the control plane to the call of a plugin and on to what that asks of its engine; a task
//! that never ends has one of the level `info`, which no more than names it in the log. Who [exports](export) the spans
//! has those of the first kind.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::OnceLock;

use seawall_model::TraceId;
use tracing::{Instrument as _, Span};

tokio::task_local! {
    static TRACE: Cause;
}

/// What something is done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The trace.
    pub id: TraceId,
    /// The span in it that it is a part of, which may be somebody else's.
    pub span: Option<Exported>,
}

/// A span as it is known elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Its id.
    pub id: NonZeroU64,
    /// Whether it is kept there: what it is a part of decides for all of its parts.
    pub sampled: bool,
}

impl From<TraceId> for Cause {
    fn from(id: TraceId) -> Self {
        Self { id, span: None }
    }
}

/// Does `work` within a trace.
pub async fn scope<T>(cause: impl Into<Cause>, work: impl Future<Output = T>) -> T {
    TRACE.scope(cause.into(), work).await
}

/// Does `work`, which waits for nothing, within a trace.
pub fn within<T>(cause: impl Into<Cause>, work: impl FnOnce() -> T) -> T {
    TRACE.sync_scope(cause.into(), work)
}

/// The trace that this is done within, if any.
pub fn current() -> Option<TraceId> {
    TRACE.try_with(|cause| cause.id).ok()
}

/// The trace that this is done within, or else a new one.
pub fn current_or_new() -> TraceId {
    current().unwrap_or_else(TraceId::random)
}

/// The span that is open now, if it is exported.
pub fn exported() -> Option<Exported> {
    EXPORTER.get()?.current()
}

/// What is handed to somebody who goes on with this later: its trace, and the span that is open now.
pub fn cause() -> Option<Cause> {
    let here = TRACE.try_with(|cause| *cause).ok()?;
    Some(Cause { span: exported().or(here.span), ..here })
}

/// The same, or else a new trace.
pub fn cause_or_new() -> Cause {
    cause().unwrap_or_else(|| TraceId::random().into())
}

/// Does `work` within a trace, as a piece of work with a span of its own, which is a part of what it is done for.
pub async fn piece<T>(cause: impl Into<Cause>, span: impl FnOnce() -> Span, work: impl Future<Output = T>) -> T {
    let cause = cause.into();
    scope(cause, async {
        let span = span();
        if let (Some(exporter), Some(_)) = (EXPORTER.get(), cause.span) {
            exporter.adopt(&span, cause);
        }
        work.instrument(span).await
    })
    .await
}

/// Sends spans elsewhere, where they have ids of their own.
pub trait Exporter: fmt::Debug + Send + Sync {
    /// The span that is open now, if it is exported.
    fn current(&self) -> Option<Exported>;

    /// Makes a span that was not entered yet a part of another one.
    fn adopt(&self, span: &Span, cause: Cause);
}

static EXPORTER: OnceLock<Box<dyn Exporter>> = OnceLock::new();

/// Has spans exported, once a process. Gives the exporter back if there is one.
///
/// # Errors
/// There is one already.
pub fn export(exporter: Box<dyn Exporter>) -> Result<(), Box<dyn Exporter>> {
    EXPORTER.set(exporter)
}
