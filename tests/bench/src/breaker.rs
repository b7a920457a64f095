//! What an open breaker costs: a call that is refused, through the whole bulkhead, with the latency of its tail.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use seawall_backend::breaker::{BreakerConfig, Failure, Verdict};
use seawall_backend::limit::Ceiling;
use seawall_backend::{Bulkhead, BulkheadConfig, Error, ExecutionBackend as _};
use seawall_model::{Key, SessionId};
use serde_json::json;

use crate::guest::Host;
use crate::measure::{Report, Times};

const WARM: usize = 10_000;
const ROUNDS: usize = 200_000;

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let host = Host::new().await?;
    let backend = host.load("mock", json!({"state": true}), json!({})).await?;
    let breaker = BreakerConfig { open_for: Duration::from_secs(3600), ..BreakerConfig::default() };
    let config = BulkheadConfig { breaker, ..BulkheadConfig::default() };
    let backend = Bulkhead::new(backend.untimed(), &config, Ceiling::new(64));
    for _ in 0..breaker.failures {
        let failure = Failure { function: "start".into(), culprit: None, reason: "away".to_owned() };
        backend.breaker().admit().ok().context("a closed breaker")?.settle(Verdict::Failure(failure));
    }
    let key = Key { session: SessionId::random(), incarnation: 1, handle: None };
    let mut times = Times::default();
    for round in 0..WARM + ROUNDS {
        let began = Instant::now();
        let answer = backend.start(&key).await;
        let took = began.elapsed();
        ensure!(matches!(answer, Err(Error::Open { .. })), "the breaker is not open: {answer:?}");
        if round >= WARM {
            times.push(took);
        }
    }
    report.tail("open breaker refuses a call", &times, Duration::from_micros(1));
    drop(backend);
    host.close().await;
    Ok(())
}
