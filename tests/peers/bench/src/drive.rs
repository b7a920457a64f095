//! Callers: so many tasks that make one call after the other for a while, and how long each call took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use seawall_model::Key;
use serde_json::{Value, json};

use crate::peer::{Call, Peer};

/// What was seen of one kind of call by one road.
#[derive(Debug, Default)]
pub(crate) struct Times {
    calls: Vec<u32>,
    elapsed: Duration,
}

impl Times {
    /// The time that this share of all calls stays below, in percent.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.calls.clone();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        if sorted.is_empty() {
            return Duration::ZERO;
        }
        let (_, found, _) = sorted.select_nth_unstable(at);
        Duration::from_nanos(u64::from(*found))
    }

    /// Calls a second, of all callers together.
    pub(crate) fn rate(&self) -> f64 {
        self.calls.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn json(&self) -> Value {
        let ns = |percent| u64::try_from(self.percentile(percent).as_nanos()).unwrap_or(u64::MAX);
        json!({"calls": self.calls.len(), "median_ns": ns(50), "p99_ns": ns(99), "calls_per_second": self.rate()})
    }

    /// Lets so many callers make this call for a while, and adds what they saw.
    pub(crate) async fn sample(
        &mut self,
        peer: &Arc<dyn Peer>,
        call: Call,
        keys: &Arc<[Key]>,
        callers: usize,
        span: Duration,
    ) -> Result<()> {
        let begun = Instant::now();
        let tasks: Vec<_> = (0..callers)
            .map(|_| tokio::spawn(caller(Arc::clone(peer), call, Arc::clone(keys), begun + span)))
            .collect();
        for task in tasks {
            self.calls.extend(task.await.context("a caller")??);
        }
        self.elapsed += begun.elapsed();
        Ok(())
    }
}

/// At least one call, then as many as begin before `until`.
async fn caller(peer: Arc<dyn Peer>, call: Call, keys: Arc<[Key]>, until: Instant) -> Result<Vec<u32>> {
    let mut times = Vec::with_capacity(1024);
    loop {
        let begun = Instant::now();
        call.make(peer.as_ref(), &keys).await?;
        let ended = Instant::now();
        times.push(u32::try_from((ended - begun).as_nanos()).unwrap_or(u32::MAX));
        if ended >= until {
            return Ok(times);
        }
        // Roads that never wait would keep their thread from the other callers.
        tokio::task::consume_budget().await;
    }
}
