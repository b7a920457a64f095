//! Permits: how many calls to a backend are in flight, and how long one may wait to be.
//!
//! There are permits of four kinds, so that what takes long or must not wait has nothing to fear of the rest: calls,
//! long calls (twenty image pulls keep no signal waiting), probes (`check`: a full bulkhead never looks like a sick
//! backend, E12), and open streams, which last and are never waited for.
//!
//! A call takes a permit of the backend first and one of the host second: the narrow one before the wide one, so that
//! the queue of a busy backend holds none of the host's permits. Both waits together are bounded, first come first
//! served, and end with their caller. Probes and streams stand outside the host's ceiling: a probe must always get
//! through, and a stream is no instance.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::Class;
pub use crate::ceiling::Ceiling;
use crate::ceiling::Wide;
use crate::changes::{Change, Changes};
use crate::stack::Refuse;

/// How many at once, and how long to wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct LimitConfig {
    /// Calls in flight to one backend, without those that follow. Default 20.
    pub calls: usize,
    /// How long a call waits for a permit. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub calls_wait: Duration,
    /// Calls that may take minutes. Default 4.
    pub long: usize,
    /// How long one of these waits. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub long_wait: Duration,
    /// Health checks. Default 1.
    pub probes: usize,
    /// How long a health check waits. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub probes_wait: Duration,
    /// Open streams of one backend. Default 200.
    pub streams: usize,
}

impl Default for LimitConfig {
    fn default() -> Self {
        let wait = Duration::from_secs(10);
        Self { calls: 20, calls_wait: wait, long: 4, long_wait: wait, probes: 1, probes_wait: wait, streams: 200 }
    }
}

impl LimitConfig {
    pub(crate) fn check(&self, refuse: Refuse<'_>) {
        let permits = [("calls", self.calls), ("long", self.long), ("probes", self.probes), ("streams", self.streams)];
        for (field, permits) in permits {
            if permits == 0 || permits > MOST_PERMITS {
                refuse(&format!("limit.{field}"), "between 1 and 100000");
            }
        }
        let waits = [("calls-wait", self.calls_wait), ("long-wait", self.long_wait), ("probes-wait", self.probes_wait)];
        for (field, wait) in waits {
            if wait > LONGEST_WAIT {
                refuse(&format!("limit.{field}"), "at most 1h");
            }
        }
    }
}

const MOST_PERMITS: usize = 100_000;
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What a permit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A call.
    Call,
    /// A call that may take minutes.
    Long,
    /// A health check.
    Probe,
    /// An open stream.
    Stream,
}

impl Kind {
    /// What there are several of.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "calls",
            Self::Long => "long calls",
            Self::Probe => "health checks",
            Self::Stream => "streams",
        }
    }
}

impl From<Class> for Kind {
    fn from(class: Class) -> Self {
        match class {
            Class::Check => Self::Probe,
            Class::Long => Self::Long,
            // Opening a stream is a call like any other.
            Class::Observe | Class::Control | Class::Stream => Self::Call,
        }
    }
}

/// No permit came free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Full {
    /// For what.
    pub kind: Kind,
    /// How many there are.
    pub permits: usize,
    /// How long the caller waited.
    pub waited: Duration,
    /// Worth trying again after this.
    pub retry_after: Duration,
}

impl Full {
    /// Whoever was turned away waited already; this only spaces out those who ask again at once.
    pub const RETRY_AFTER: Duration = Duration::from_secs(1);
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, permits, waited, .. } = self;
        write!(f, "the backend is busy: it has {permits} permits for {}, and none was free", kind.as_str())?;
        if waited.is_zero() { Ok(()) } else { write!(f, " within {waited:?}") }
    }
}

/// What the permits of one kind have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PoolStats {
    /// How many there are.
    pub permits: usize,
    /// Taken now.
    pub in_flight: usize,
    /// Callers that wait.
    pub queued: usize,
    /// Callers that were refused since the start.
    pub refused: u64,
}

/// What a limit has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LimitStats {
    /// Calls.
    pub calls: PoolStats,
    /// Calls that may take minutes.
    pub long: PoolStats,
    /// Health checks.
    pub probes: PoolStats,
    /// Open streams.
    pub streams: PoolStats,
}

/// One backend's permits. A clone is the same limit.
#[derive(Clone, Debug)]
pub struct Limit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    calls: Pool,
    long: Pool,
    probes: Pool,
    streams: Pool,
    ceiling: Ceiling,
    changes: Changes,
}

/// Permits of one kind.
#[derive(Debug)]
struct Pool {
    permits: usize,
    wait: Duration,
    free: Arc<Semaphore>,
    queued: AtomicUsize,
    refused: AtomicU64,
    last_refusal: Mutex<Option<Instant>>,
}

/// A refusal that comes so long after the last one is told again.
const QUIET: Duration = Duration::from_secs(60);

impl Pool {
    fn new(permits: usize, wait: Duration) -> Self {
        let permits = permits.min(Semaphore::MAX_PERMITS);
        Self {
            permits,
            wait,
            free: Arc::new(Semaphore::new(permits)),
            queued: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            last_refusal: Mutex::new(None),
        }
    }

    fn stats(&self) -> PoolStats {
        PoolStats {
            permits: self.permits,
            in_flight: self.permits.saturating_sub(self.free.available_permits()),
            queued: self.queued.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Counts a refusal; says whether it is the first for a while.
    fn refuse(&self) -> bool {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let last = self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        last.is_none_or(|last| now.saturating_duration_since(last) >= QUIET)
    }
}

/// The right to make one call. Given back when dropped.
#[derive(Debug)]
pub struct Permit {
    _narrow: OwnedSemaphorePermit,
    _wide: Option<Wide>,
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
    /// All permits free. It is told there when it begins to refuse.
    pub fn new(config: LimitConfig, ceiling: Ceiling, changes: Changes) -> Self {
        Self(Arc::new(Inner {
            calls: Pool::new(config.calls, config.calls_wait),
            long: Pool::new(config.long, config.long_wait),
            probes: Pool::new(config.probes, config.probes_wait),
            streams: Pool::new(config.streams, Duration::ZERO),
            ceiling,
            changes,
        }))
    }

    /// Waits for the right to make a call of this class.
    ///
    /// # Errors
    /// None came free in the time that its kind may wait.
    pub async fn acquire(&self, class: Class) -> Result<Permit, Full> {
        let kind = Kind::from(class);
        let pool = self.0.pool(kind);
        let ceiling = (kind != Kind::Probe).then_some(&self.0.ceiling);
        // Free permits are taken without a timer: this is the way of nearly every call. A narrow one is kept while the wide
        // one is waited for, or its place in the queue would be lost.
        let narrow = pool.free.clone().try_acquire_owned().ok();
        let wide = match (&narrow, ceiling) {
            (None, _) => None,
            (Some(_), None) => Some(None),
            (Some(_), Some(ceiling)) => ceiling.try_acquire().map(Some),
        };
        match (narrow, wide) {
            (Some(narrow), Some(wide)) => Ok(Permit { _narrow: narrow, _wide: wide }),
            (narrow, _) => {
                let both = async move {
                    let narrow = match narrow {
                        Some(narrow) => narrow,
                        None => pool.free.clone().acquire_owned().await.ok()?,
                    };
                    let wide = match ceiling {
                        Some(ceiling) => Some(ceiling.acquire().await?),
                        None => None,
                    };
                    Some(Permit { _narrow: narrow, _wide: wide })
                };
                self.bounded(kind, both).await
            }
        }
    }

    /// Takes the right to keep a stream open; never waits, since streams last.
    ///
    /// # Errors
    /// As many as may be are open.
    pub fn open_stream(&self) -> Result<StreamPermit, Full> {
        let free = self.0.streams.free.clone();
        free.try_acquire_owned().map(StreamPermit).map_err(|_| self.refuse(Kind::Stream))
    }

    /// What it has seen.
    pub fn stats(&self) -> LimitStats {
        let inner = &*self.0;
        LimitStats {
            calls: inner.calls.stats(),
            long: inner.long.stats(),
            probes: inner.probes.stats(),
            streams: inner.streams.stats(),
        }
    }

    /// The host's ceiling.
    pub fn ceiling(&self) -> &Ceiling {
        &self.0.ceiling
    }

    /// `permit` is `None` only if a semaphore was closed, which nobody does.
    async fn bounded(&self, kind: Kind, permit: impl Future<Output = Option<Permit>>) -> Result<Permit, Full> {
        let pool = self.0.pool(kind);
        let _queued = Queued::enter(&pool.queued);
        match tokio::time::timeout(pool.wait, permit).await {
            Ok(Some(permit)) => Ok(permit),
            Ok(None) | Err(_) => Err(self.refuse(kind)),
        }
    }

    fn refuse(&self, kind: Kind) -> Full {
        let pool = self.0.pool(kind);
        let full = Full { kind, permits: pool.permits, waited: pool.wait, retry_after: Full::RETRY_AFTER };
        if pool.refuse() {
            self.0.changes.tell(Change::Full { kind, full });
        }
        full
    }
}

impl Inner {
    fn pool(&self, kind: Kind) -> &Pool {
        match kind {
            Kind::Call => &self.calls,
            Kind::Long => &self.long,
            Kind::Probe => &self.probes,
            Kind::Stream => &self.streams,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    fn limit(permits: usize, ceiling: &Ceiling) -> Limit {
        let config = LimitConfig { calls: permits, long: permits, streams: 2, ..LimitConfig::default() };
        Limit::new(config, ceiling.clone(), Changes::default())
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_permit_is_given_and_one_more_is_refused_after_the_wait() {
        let limit = limit(2, &Ceiling::new(100));
        let first = limit.acquire(Class::Control).await.unwrap();
        let second = limit.acquire(Class::Control).await.unwrap();
        let begun = Instant::now();
        let full = limit.acquire(Class::Control).await.unwrap_err();
        assert_eq!((full.kind, full.permits, full.waited), (Kind::Call, 2, WAIT));
        assert_eq!(begun.elapsed(), WAIT);
        assert_eq!(limit.stats().calls, PoolStats { permits: 2, in_flight: 2, queued: 0, refused: 1 });
        drop((first, second));
        assert!(limit.acquire(Class::Control).await.is_ok());
    }

    /// E12.
    #[tokio::test(start_paused = true)]
    async fn a_probe_gets_through_a_full_bulkhead_and_is_bounded_by_its_own_permit() {
        let ceiling = Ceiling::new(1);
        let limit = limit(1, &ceiling);
        let _call = limit.acquire(Class::Control).await.unwrap();
        let probe = limit.acquire(Class::Check).await.unwrap();
        assert_eq!(limit.acquire(Class::Check).await.unwrap_err().kind, Kind::Probe);
        drop(probe);
        assert!(limit.acquire(Class::Check).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn long_calls_keep_no_other_waiting() {
        let limit = limit(1, &Ceiling::new(100));
        let _pull = limit.acquire(Class::Long).await.unwrap();
        assert_eq!(limit.acquire(Class::Long).await.unwrap_err().kind, Kind::Long);
        let begun = Instant::now();
        assert!(limit.acquire(Class::Control).await.is_ok());
        assert_eq!(begun.elapsed(), Duration::ZERO);
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
        while busy.stats().calls.queued == 0 {
            tokio::task::yield_now().await;
        }
        assert!(other.acquire(Class::Control).await.is_ok(), "a queue elsewhere took the host's last permit");
        waiting.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn the_hosts_ceiling_is_waited_for_and_refuses_as_the_backends_own_does() {
        let ceiling = Ceiling::new(1);
        let (one, other) = (limit(1, &ceiling), limit(1, &ceiling));
        let held = one.acquire(Class::Control).await.unwrap();
        assert!(other.acquire(Class::Control).await.is_err());
        assert_eq!(other.stats().calls.in_flight, 0, "the backend's own permit was kept");
        drop(held);
        assert!(other.acquire(Class::Control).await.is_ok());
        assert_eq!(ceiling.stats().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_is_served_first() {
        let limit = limit(1, &Ceiling::new(100));
        let held = limit.acquire(Class::Control).await.unwrap();
        let (order, mut served) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..5 {
            let (waiting, order) = (limit.clone(), order.clone());
            tokio::spawn(async move {
                let _permit = waiting.acquire(Class::Control).await.unwrap();
                order.send(number).unwrap();
            });
            while limit.stats().calls.queued <= number {
                tokio::task::yield_now().await;
            }
        }
        drop((held, order));
        for number in 0..5 {
            assert_eq!(served.recv().await, Some(number));
        }
    }

    /// E17.
    #[tokio::test(start_paused = true)]
    async fn a_cancelled_waiter_leaves_the_queue() {
        let limit = limit(1, &Ceiling::new(100));
        let held = limit.acquire(Class::Control).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), limit.acquire(Class::Control)).await.is_err());
        assert_eq!(limit.stats().calls.queued, 0);
        drop(held);
        assert!(limit.acquire(Class::Control).await.is_ok(), "the cancelled waiter kept the permit");
        assert_eq!(limit.stats().calls.refused, 0, "a caller that left was not refused");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_have_permits_of_their_own_kind() {
        let limit = limit(1, &Ceiling::new(1));
        let streams = (limit.open_stream().unwrap(), limit.open_stream().unwrap());
        assert_eq!(limit.open_stream().unwrap_err().kind, Kind::Stream);
        assert!(limit.acquire(Class::Control).await.is_ok(), "an open stream took a call's permit");
        drop(streams);
        assert!(limit.open_stream().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn that_it_refuses_is_told_once_until_it_has_been_quiet() {
        let limit = limit(1, &Ceiling::new(1));
        let mut told = limit.0.changes.subscribe();
        let streams = (limit.open_stream().unwrap(), limit.open_stream().unwrap());
        for _ in 0..100 {
            assert!(limit.open_stream().is_err());
        }
        assert!(matches!(told.try_recv(), Ok(Change::Full { kind: Kind::Stream, .. })));
        assert!(told.try_recv().is_err(), "each refusal was told");
        tokio::time::advance(QUIET).await;
        assert!(limit.open_stream().is_err());
        assert!(told.try_recv().is_ok());
        drop(streams);
    }
}
