//! Whose call is next, among the workers of one backend's sessions.
//!
//! A bulkhead lets so many calls in at a time and sends away whoever has waited too long, which is right for somebody who
//! waits for an answer. A worker has all the time there is: if thousands had work at once and asked the bulkhead, most
//! would be sent away together and come back together. So they queue here first, as long as it takes, first come, first
//! served, and no more are let through than the bulkhead has permits.
//!
//! There are two queues: what ends a session is not held up by thousands that are to begin. These leave a fifth of the
//! permits to others, so that while many creates take long there is room for stops, sweeps and probes.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::settle::Call;

/// One in so many permits is not for what begins; of few, one.
const RESERVED: usize = 5;

/// The queues of one backend.
#[derive(Debug)]
pub(crate) struct Turns {
    beginning: Semaphore,
    ending: Semaphore,
    waiting: AtomicUsize,
}

/// The right to ask the bulkhead. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(#[expect(dead_code, reason = "held for its drop")] Option<SemaphorePermit<'a>>);

/// Counted while it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turns {
    /// Of a backend whose bulkhead has so many permits.
    pub(crate) fn new(permits: usize) -> Self {
        let semaphore = |permits: usize| Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS));
        let reserved = (permits / RESERVED).max(1);
        let beginning = semaphore(permits.saturating_sub(reserved));
        Self { beginning, ending: semaphore(permits), waiting: AtomicUsize::new(0) }
    }

    fn queue(&self, call: &Call) -> Option<&Semaphore> {
        match call {
            Call::Create | Call::Start => Some(&self.beginning),
            Call::Look | Call::Signal(_) | Call::Pause | Call::Unpause | Call::Remove(_) => Some(&self.ending),
            // It goes round the bulkhead.
            Call::Expunge => None,
        }
    }

    /// A turn, if nobody has to be waited for.
    pub(crate) fn now(&self, call: &Call) -> Option<Turn<'_>> {
        match self.queue(call) {
            None => Some(Turn(None)),
            Some(queue) => queue.try_acquire().ok().map(|permit| Turn(Some(permit))),
        }
    }

    /// Waits for a turn. Dropping the future gives up the place.
    pub(crate) async fn wait(&self, call: &Call) -> Turn<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        match self.queue(call) {
            None => Turn(None),
            // Nobody closes it.
            Some(queue) => Turn(queue.acquire().await.ok()),
        }
    }

    /// Workers that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use seawall_model::Signal;

    #[tokio::test]
    async fn who_came_first_is_next_and_what_ends_a_session_does_not_wait_for_what_begins_one() {
        let turns = Turns::new(3);
        let (one, two) = (turns.now(&Call::Create).unwrap(), turns.now(&Call::Start).unwrap());
        assert!(turns.now(&Call::Create).is_none());
        let (mut first, mut second) = (Box::pin(turns.wait(&Call::Create)), Box::pin(turns.wait(&Call::Start)));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        assert_eq!(turns.waiting(), 2);

        let kill = turns.now(&Call::Signal(Signal::KILL)).unwrap();
        let remove = turns.now(&Call::Remove(1)).unwrap();
        let look = turns.now(&Call::Look).unwrap();
        assert!(turns.now(&Call::Look).is_none() && turns.now(&Call::Expunge).is_some());
        drop((kill, remove, look));

        drop(one);
        assert!(turns.now(&Call::Create).is_none(), "a turn was taken before those who wait");
        assert!((&mut second).now_or_never().is_none());
        let first = first.await;
        assert_eq!(turns.waiting(), 1);
        drop(second);
        assert_eq!(turns.waiting(), 0, "one that left is counted");
        drop((first, two));
        assert!(turns.now(&Call::Create).is_some() && turns.now(&Call::Start).is_some());
    }

    #[test]
    fn what_begins_leaves_room_and_one_permit_is_enough_for_all() {
        let most = |permits| {
            let turns = Turns::new(permits);
            (turns.beginning.available_permits(), turns.ending.available_permits())
        };
        assert_eq!([1, 2, 5, 20].map(most), [(1, 1), (1, 2), (4, 5), (16, 20)]);
    }
}
