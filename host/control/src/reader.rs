//! Those who have a stream of a session open. One that removes itself does so only when the last of them is done.

use std::sync::Arc;

use seawall_model::Incarnation;

use crate::state::Entry;

/// Counted until it is dropped.
pub(crate) struct Reader(Arc<Entry>);

impl Reader {
    /// Of this incarnation. `None`: there are so many already.
    pub(crate) fn new(entry: Arc<Entry>, incarnation: Incarnation, most: usize) -> Option<Self> {
        let one_more = entry.with(|cell| {
            let free = cell.readers < most;
            cell.readers += usize::from(free);
            if free {
                cell.read = cell.read.max(incarnation);
            }
            free
        });
        one_more.then(|| Self(entry))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.with(|cell| cell.readers = cell.readers.saturating_sub(1));
        self.0.work.notify_one();
    }
}
