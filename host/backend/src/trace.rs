//! Which calls belong together. Whoever begins something (a request, a sweep, a check, a worker) does it within a trace,
//! and every call to a backend is made within one: its lines in the log and its errors carry the trace's id.
//!
//! The id travels with the task, not in a span, since it must be there whatever the log leaves out. A task that is
//! spawned is handed it by whoever spawns it.

use seawall_model::TraceId;

tokio::task_local! {
    static TRACE: TraceId;
}

/// Does `work` within the trace `id`.
pub async fn scope<T>(id: TraceId, work: impl Future<Output = T>) -> T {
    TRACE.scope(id, work).await
}

/// The trace that this is done within, if any.
pub fn current() -> Option<TraceId> {
    TRACE.try_with(|id| *id).ok()
}

/// The trace that this is done within, or else a new one.
pub fn current_or_new() -> TraceId {
    current().unwrap_or_else(TraceId::random)
}
