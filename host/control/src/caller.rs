//! What a request brings along from its caller: who that is, and what is expected of the session that is changed.
//!
//! What is expected is looked at with the right to change the session, so that nothing comes between the look and the
//! change. Like a trace, both travel with the task, as far as the request goes: what a worker does later for the same
//! cause is nobody's.

use std::sync::Arc;

use seawall_model::Session;

use crate::ControlError;
use crate::state::Entry;

type Expected = Arc<dyn Fn(&Session) -> bool + Send + Sync>;

tokio::task_local! {
    static EXPECTED: Expected;
    static ACTOR: Arc<str>;
}

/// Does `work` for somebody: the events that its requests cause at once say so.
pub async fn acting<T>(actor: Arc<str>, work: impl Future<Output = T>) -> T {
    ACTOR.scope(actor, work).await
}

/// For whom this is done.
pub(crate) fn actor() -> Option<String> {
    ACTOR.try_with(ToString::to_string).ok()
}

/// Does `work`, whose requests change a session only if `expected` holds of it, and are refused with
/// [`ControlError::Changed`] else.
pub async fn expecting<T>(
    expected: impl Fn(&Session) -> bool + Send + Sync + 'static,
    work: impl Future<Output = T>,
) -> T {
    EXPECTED.scope(Arc::new(expected), work).await
}

/// Does `work` in another task with what this one's caller brought along.
pub(crate) fn handed_on<T: Send>(work: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
    let (expected, actor) = (EXPECTED.try_with(Arc::clone).ok(), ACTOR.try_with(Arc::clone).ok());
    async move {
        let work = async move {
            match expected {
                Some(expected) => EXPECTED.scope(expected, work).await,
                None => work.await,
            }
        };
        match actor {
            Some(actor) => ACTOR.scope(actor, work).await,
            None => work.await,
        }
    }
}

/// Whether it holds. Asked by whoever has the right to change the session.
pub(crate) fn met(entry: &Entry) -> Result<(), ControlError> {
    let met = EXPECTED.try_with(|expected| expected(&entry.with(|cell| cell.session())));
    if met.unwrap_or(true) { Ok(()) } else { Err(ControlError::Changed(entry.id.clone())) }
}
