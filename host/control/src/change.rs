//! A change of one session: worked out on a draft, written to the store, then shown. Never the other way round.

use std::sync::Arc;

use seawall_store::{Intent, SessionRecord, Write};
use tokio::sync::OwnedMutexGuard;

use crate::draft::Draft;
use crate::state::{Cell, Entry};

/// The right to change a session's record. Whoever has it is the only one.
pub(crate) type Right = OwnedMutexGuard<()>;

/// A change that was begun. Dropped, it never was.
pub(crate) struct Change {
    /// To be worked on.
    pub(crate) draft: Draft,
    pub(crate) entry: Arc<Entry>,
    right: Right,
    record: Arc<SessionRecord>,
    intent: Option<Intent>,
}

impl Change {
    /// Begins a change. `None` if the session is removed, or does not meet `condition`.
    pub(crate) fn begin(entry: &Arc<Entry>, right: Right, condition: impl FnOnce(&Cell) -> bool) -> Option<Self> {
        entry.with(|cell| {
            (!cell.removed && condition(cell)).then(|| Self {
                draft: cell.draft(),
                entry: Arc::clone(entry),
                right,
                record: Arc::clone(&cell.record),
                intent: cell.intent.clone(),
            })
        })
    }

    /// What has to be stored; nothing, if only memory changes.
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.draft.writes((&self.record, self.intent.as_ref()))
    }

    /// Shows the change, once it is stored. `acting`: whether a call to the backend begins (`true`) or ended.
    pub(crate) fn publish(self, acting: Option<bool>) {
        self.publish_and(acting, |_| ());
    }

    /// The same, with a look at the session before anything else can change it.
    pub(crate) fn publish_and<T>(self, acting: Option<bool>, look: impl FnOnce(&mut Cell) -> T) -> T {
        let seen = self.entry.with(|cell| {
            if *cell.record != self.draft.record {
                cell.record = Arc::new(self.draft.record);
            }
            cell.intent = self.draft.intent;
            cell.marks = self.draft.marks;
            cell.acting = acting.unwrap_or(cell.acting);
            cell.version += 1;
            look(cell)
        });
        drop(self.right);
        self.entry.tell();
        seen
    }

    /// Shows that the record is deleted from the store.
    pub(crate) fn bury(self) {
        self.entry.with(|cell| {
            cell.removed = true;
            cell.acting = false;
            cell.version += 1;
        });
        drop(self.right);
        self.entry.tell();
    }
}
