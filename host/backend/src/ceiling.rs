//! The ceiling over the calls of all backends of a host. It can be moved while calls are in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limit::PoolStats;

/// The ceiling over all backends of a host. A clone is the same ceiling.
#[derive(Clone, Debug)]
pub struct Ceiling(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    permits: AtomicUsize,
    /// Permits that were given out and are not to come back.
    surplus: AtomicUsize,
    free: Arc<Semaphore>,
}

/// One of the host's permits. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Wide {
    permit: Option<OwnedSemaphorePermit>,
    ceiling: Ceiling,
}

impl Ceiling {
    /// So many calls in flight on the whole host.
    pub fn new(permits: usize) -> Self {
        let permits = permits.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            permits: AtomicUsize::new(permits),
            surplus: AtomicUsize::new(0),
            free: Arc::new(Semaphore::new(permits)),
        }))
    }

    /// So many from now on. Calls in flight go on; while they are more than that, none is let in. One resize at a time.
    pub fn resize(&self, permits: usize) {
        let Inner { surplus, free, .. } = &*self.0;
        let permits = permits.min(Semaphore::MAX_PERMITS);
        let before = self.0.permits.swap(permits, Ordering::AcqRel);
        if permits < before {
            let gone = free.forget_permits(before - permits);
            surplus.fetch_add(before - permits - gone, Ordering::AcqRel);
        } else {
            let kept = (0..permits - before).take_while(|_| self.take_surplus()).count();
            free.add_permits(permits - before - kept);
        }
    }

    /// What it has seen. Callers that wait for it are counted by their backend's limit.
    pub fn stats(&self) -> PoolStats {
        let permits = self.0.permits.load(Ordering::Relaxed);
        let there = permits + self.0.surplus.load(Ordering::Relaxed);
        PoolStats { permits, in_flight: there.saturating_sub(self.0.free.available_permits()), queued: 0, refused: 0 }
    }

    pub(crate) fn try_acquire(&self) -> Option<Wide> {
        self.0.free.clone().try_acquire_owned().ok().map(|permit| self.wide(permit))
    }

    /// `None` only if the semaphore was closed, which nobody does.
    pub(crate) async fn acquire(&self) -> Option<Wide> {
        self.0.free.clone().acquire_owned().await.ok().map(|permit| self.wide(permit))
    }

    fn wide(&self, permit: OwnedSemaphorePermit) -> Wide {
        Wide { permit: Some(permit), ceiling: self.clone() }
    }

    fn take_surplus(&self) -> bool {
        let less = |surplus: usize| surplus.checked_sub(1);
        self.0.surplus.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
    }
}

impl Drop for Wide {
    fn drop(&mut self) {
        if self.ceiling.take_surplus()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ceiling: &Ceiling) -> (usize, usize) {
        let stats = ceiling.stats();
        (stats.permits, stats.in_flight)
    }

    #[test]
    fn a_lower_ceiling_lets_nobody_in_until_enough_calls_have_ended() {
        let ceiling = Ceiling::new(3);
        let mut calls: Vec<_> = std::iter::from_fn(|| ceiling.try_acquire()).collect();
        assert_eq!(calls.len(), 3);
        ceiling.resize(1);
        assert_eq!(seen(&ceiling), (1, 3));
        calls.truncate(1);
        assert_eq!(seen(&ceiling), (1, 1));
        assert!(ceiling.try_acquire().is_none());
        calls.clear();
        assert!(ceiling.try_acquire().is_some());
        assert_eq!(seen(&ceiling), (1, 0));
    }

    #[test]
    fn a_higher_ceiling_takes_effect_at_once_also_before_the_lower_one_did() {
        let ceiling = Ceiling::new(2);
        let calls: Vec<_> = std::iter::from_fn(|| ceiling.try_acquire()).collect();
        ceiling.resize(1);
        ceiling.resize(4);
        let more: Vec<_> = std::iter::from_fn(|| ceiling.try_acquire()).collect();
        assert_eq!((calls.len(), more.len(), seen(&ceiling)), (2, 2, (4, 4)));
        drop((calls, more));
        assert_eq!(std::iter::from_fn(|| ceiling.try_acquire()).take(9).collect::<Vec<_>>().len(), 4);
    }
}
