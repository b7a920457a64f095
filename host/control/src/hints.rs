//! When to look at which session before the next sweep is due.
//!
//! Hints only make a look come sooner: one that is lost costs an interval, nothing else. Those that fall due together
//! are answered by one batch. What a watch names is looked at once, and not again as what was started or stopped is.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use seawall_model::SessionId;
use seawall_store::Act;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::state::Cell;

/// The hints of one backend.
#[derive(Default)]
pub(crate) struct Hints {
    queue: Mutex<Queue>,
    /// Told when the queue has changed. One listener.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct Queue {
    looks: BinaryHeap<Reverse<(Instant, SessionId)>>,
    woken: BTreeSet<SessionId>,
    full: bool,
    list: bool,
}

/// What is due.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Sessions that change soon: they are looked at again if they have not.
    pub(crate) looks: BTreeSet<SessionId>,
    /// Sessions that have changed, as a watch says.
    pub(crate) woken: BTreeSet<SessionId>,
    /// All of them.
    pub(crate) full: bool,
    /// Ask for a complete listing.
    pub(crate) list: bool,
}

/// Looks that are due so soon are taken along.
const SLACK: Duration = Duration::from_millis(10);

impl Hints {
    fn queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        change(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Look at this session then.
    pub(crate) fn look(&self, session: &SessionId, after: Duration) {
        self.queue(|queue| queue.looks.push(Reverse((Instant::now() + after, session.clone()))));
        self.changed.notify_one();
    }

    /// Look at these at once.
    pub(crate) fn wake(&self, sessions: BTreeSet<SessionId>) {
        self.queue(|queue| queue.woken.extend(sessions));
        self.changed.notify_one();
    }

    /// Look at every session at once.
    pub(crate) fn wake_all(&self) {
        self.queue(|queue| queue.full = true);
        self.changed.notify_one();
    }

    /// Ask for a complete listing at once.
    pub(crate) fn list(&self) {
        self.queue(|queue| queue.list = true);
        self.changed.notify_one();
    }

    /// When the next look is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.queue(|queue| {
            if queue.list || queue.full || !queue.woken.is_empty() {
                return Some(Instant::now());
            }
            queue.looks.peek().map(|Reverse((at, _))| *at)
        })
    }

    /// Takes what is due.
    pub(crate) fn take(&self) -> Due {
        let until = Instant::now() + SLACK;
        self.queue(|queue| {
            let mut looks = BTreeSet::new();
            while queue.looks.peek().is_some_and(|Reverse((at, _))| *at <= until) {
                if let Some(Reverse((_, session))) = queue.looks.pop() {
                    looks.insert(session);
                }
            }
            let woken = std::mem::take(&mut queue.woken);
            Due { looks, woken, full: std::mem::take(&mut queue.full), list: std::mem::take(&mut queue.list) }
        })
    }
}

/// After a start, short-lived sessions are met at 50, 150, 350, ... ms; six looks, then the sweep.
const AFTER_START: (Duration, u32) = (Duration::from_millis(50), 6);
/// While it is being stopped, after 20, 60, 140, ... ms; at last every second.
const WHILE_STOPPING: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How soon to look at a session again.
pub(crate) fn next_look(session: &Cell) -> Option<Duration> {
    let looks = session.marks.looks;
    let doubled = |first: Duration| first.saturating_mul(2_u32.saturating_pow(looks));
    if !session.record.state.runs() {
        return None;
    }
    let stopping =
        session.intent.as_ref().is_some_and(|intent| matches!(intent.act, Act::Stop { .. } | Act::Restart { .. }));
    if stopping && session.marks.signalled {
        return Some(doubled(WHILE_STOPPING.0).min(WHILE_STOPPING.1));
    }
    (looks < AFTER_START.1).then(|| doubled(AFTER_START.0))
}
