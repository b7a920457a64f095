//! Those who read what a session wrote. One that removes itself does so only when the last of them is done.

use std::sync::Arc;

use futures_util::StreamExt as _;
use seawall_backend::LogStream;

use crate::state::Entry;

/// Counted until it is dropped.
pub(crate) struct Reader(Arc<Entry>);

impl Reader {
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        entry.with(|cell| {
            cell.readers += 1;
            cell.awaited = false;
        });
        Self(entry)
    }

    /// Reads this, until it is dropped.
    pub(crate) fn of(self, logs: LogStream) -> LogStream {
        Box::pin(logs.map(move |chunk| {
            let _counted = &self;
            chunk
        }))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.with(|cell| cell.readers = cell.readers.saturating_sub(1));
        self.0.work.notify_one();
    }
}
