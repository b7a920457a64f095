//! Permits: how many calls to a backend are in flight, and how long one may wait to be.
//!
//! A caller takes a permit of the backend first and one of the host second: the narrow one before the wide one, so that
//! the queue of a busy backend holds none of the host's permits. Both waits together are bounded, first come first
//! served, and end with their caller. Probes (`check`) have a permit of their own outside both, so that a full bulkhead
//! never looks like a sick backend (E12). Open streams are counted apart, since they last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Class;

/// How many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct LimitConfig {
    /// Calls in flight to one backend. Default 20.
    pub permits: usize,
    /// How long a call waits for a permit. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    /// Open streams of one backend. Default 200.
    pub streams: usize,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self { permits: 20, wait: Duration::from_secs(10), streams: 200 }
    }
}

/// The ceiling over all backends of a host. A clone is the same ceiling.
#[derive(Clone, Debug)]
pub struct Ceiling(Arc<Semaphore>);

impl Ceiling {
    /// So many calls in flight on the whole host.
    pub fn new(permits: usize) -> Self {
        Self(Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))))
    }
}

/// No permit came free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How long the caller waited.
    pub waited: Duration,
    /// Worth trying again after this.
    pub retry_after: Duration,
}

/// What a limit has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LimitStats {
    /// Calls in flight.
    pub in_flight: usize,
    /// Callers that wait.
    pub queued: usize,
    /// Callers that were refused since the start.
    pub refused: u64,
    /// Streams that are open.
    pub streams: usize,
}

/// One backend's permits. A clone is the same limit.
#[derive(Clone, Debug)]
pub struct Limit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: LimitConfig,
    calls: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    ceiling: Ceiling,
    queued: AtomicUsize,
    refused: AtomicU64,
}

/// The right to make one call. Given back when dropped.
#[derive(Debug)]
pub struct Permit {
    _narrow: OwnedSemaphorePermit,
    _wide: Option<OwnedSemaphorePermit>,
}

/// The right to keep one stream open. Given back when dropped.
#[derive(Debug)]
pub struct StreamPermit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limit {
    /// All permits free.
    pub fn new(config: LimitConfig, ceiling: Ceiling) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner {
            calls: semaphore(config.permits),
            probes: semaphore(1),
            streams: semaphore(config.streams),
            config,
            ceiling,
            queued: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// Waits for the right to make a call of this class.
    ///
    /// # Errors
    /// None came free in [`LimitConfig::wait`].
    pub async fn acquire(&self, class: Class) -> Result<Permit, Full> {
        let inner = &*self.0;
        if class == Class::Check {
            let probe = inner.probes.clone();
            let narrow = self.bounded(async { probe.acquire_owned().await.ok() }).await?;
            return Ok(Permit { _narrow: narrow, _wide: None });
        }
        // Free permits are taken without a timer: this is the way of nearly every call.
        if let Ok(narrow) = inner.calls.clone().try_acquire_owned()
            && let Ok(wide) = inner.ceiling.0.clone().try_acquire_owned()
        {
            return Ok(Permit { _narrow: narrow, _wide: Some(wide) });
        }
        let (calls, ceiling) = (inner.calls.clone(), inner.ceiling.0.clone());
        let (narrow, wide) = self
            .bounded(async { Some((calls.acquire_owned().await.ok()?, ceiling.acquire_owned().await.ok()?)) })
            .await?;
        Ok(Permit { _narrow: narrow, _wide: Some(wide) })
    }

    /// Takes the right to keep a stream open; never waits, since streams last.
    ///
    /// # Errors
    /// As many as may be are open.
    pub fn open_stream(&self) -> Result<StreamPermit, Full> {
        self.0.streams.clone().try_acquire_owned().map(StreamPermit).map_err(|_| self.refuse(Duration::ZERO))
    }

    /// What it has seen.
    pub fn stats(&self) -> LimitStats {
        let inner = &*self.0;
        LimitStats {
            in_flight: inner.config.permits.saturating_sub(inner.calls.available_permits()),
            queued: inner.queued.load(Ordering::Relaxed),
            refused: inner.refused.load(Ordering::Relaxed),
            streams: inner.config.streams.saturating_sub(inner.streams.available_permits()),
        }
    }

    /// `permits` is `None` only if a semaphore was closed, which nobody does.
    async fn bounded<T>(&self, permits: impl Future<Output = Option<T>>) -> Result<T, Full> {
        let _queued = Queued::enter(&self.0.queued);
        let wait = self.0.config.wait;
        match tokio::time::timeout(wait, permits).await {
            Ok(Some(permits)) => Ok(permits),
            Ok(None) | Err(_) => Err(self.refuse(wait)),
        }
    }

    fn refuse(&self, waited: Duration) -> Full {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        Full { waited, retry_after: Duration::from_secs(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(permits: usize, ceiling: &Ceiling) -> Limit {
        let config = LimitConfig { permits, wait: Duration::from_secs(10), streams: 2 };
        Limit::new(config, ceiling.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_permit_is_given_and_one_more_is_refused_after_the_wait() {
        let limit = limit(2, &Ceiling::new(100));
        let first = limit.acquire(Class::Control).await.unwrap();
        let second = limit.acquire(Class::Control).await.unwrap();
        let begun = tokio::time::Instant::now();
        let full = limit.acquire(Class::Control).await.unwrap_err();
        assert_eq!(full.waited, Duration::from_secs(10));
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        assert_eq!(limit.stats(), LimitStats { in_flight: 2, queued: 0, refused: 1, streams: 0 });
        drop((first, second));
        assert!(limit.acquire(Class::Control).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_gets_through_a_full_bulkhead() {
        let ceiling = Ceiling::new(1);
        let limit = limit(1, &ceiling);
        let _call = limit.acquire(Class::Control).await.unwrap();
        assert!(limit.acquire(Class::Check).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_of_a_busy_backend_holds_none_of_the_hosts_permits() {
        let ceiling = Ceiling::new(2);
        let (busy, other) = (limit(1, &ceiling), limit(1, &ceiling));
        let _call = busy.acquire(Class::Control).await.unwrap();
        let waiting = tokio::spawn({
            let busy = busy.clone();
            async move { busy.acquire(Class::Control).await }
        });
        while busy.stats().queued == 0 {
            tokio::task::yield_now().await;
        }
        assert!(other.acquire(Class::Control).await.is_ok(), "a queue elsewhere took the host's last permit");
        waiting.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_waiter_leaves_the_queue() {
        let limit = limit(1, &Ceiling::new(100));
        let held = limit.acquire(Class::Control).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), limit.acquire(Class::Control)).await.is_err());
        assert_eq!(limit.stats().queued, 0);
        drop(held);
        assert!(limit.acquire(Class::Control).await.is_ok(), "the cancelled waiter kept the permit");
        assert_eq!(limit.stats().refused, 0, "a caller that left was not refused");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_have_permits_of_their_own_kind() {
        let limit = limit(1, &Ceiling::new(1));
        let streams = (limit.open_stream().unwrap(), limit.open_stream().unwrap());
        assert!(limit.open_stream().is_err());
        assert!(limit.acquire(Class::Control).await.is_ok(), "an open stream took a call's permit");
        drop(streams);
        assert!(limit.open_stream().is_ok());
    }
}
