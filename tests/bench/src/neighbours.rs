//! A neighbour's calls, alone and while twenty calls of another backend spin and twenty of a third take all the memory
//! they can, on an executor like the daemon's.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use seawall_backend::ExecutionBackend as _;
use seawall_runtime::{RuntimeConfig, WasmBackend};
use serde_json::json;
use tokio::task::JoinSet;

use crate::guest::Host;
use crate::measure::{Report, Times};

/// Calls of each of the two that misbehave.
const CALLS: usize = 20;
/// Alone and disturbed take turns.
const ROUNDS: usize = 8;
/// Calls of the neighbour in each.
const SAMPLES: usize = 500;
const PAUSE: Duration = Duration::from_millis(1);
/// Polls that are shorter never came to their turn.
const TURN: Duration = Duration::from_micros(5);

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let config = RuntimeConfig::default();
    let executor = config.executor().build().context("start the threads of a daemon")?;
    executor.block_on(async { tokio::spawn(run(config)).await })??.report(report);
    Ok(())
}

#[derive(Default)]
struct Measured {
    quantum: Duration,
    cores: usize,
    alone: Times,
    disturbed: Times,
    /// By how much a timer of the host's own was late.
    timer_alone: Times,
    timer: Times,
    spins: Times,
    hogs: Times,
}

impl Measured {
    fn report(self, report: &mut Report) {
        let budget = self.alone.percentile(99) + self.quantum * 4;
        report.number("yield quantum", micros(self.quantum), "µs");
        report.compare_tails(
            "a neighbour's call, two backends at work",
            &self.disturbed,
            ("alone", &self.alone),
            budget,
        );
        report.note(format!(
            "neighbour: p50 {} µs alone, {} µs disturbed; a timer of the host is late by {} µs alone, {} µs disturbed (p99); \
             {} permits; the target is its p99 alone and two quanta for each of the two",
            micros(self.alone.median()),
            micros(self.disturbed.median()),
            micros(self.timer_alone.percentile(99)),
            micros(self.timer.percentile(99)),
            self.cores,
        ));
        for (who, turns) in [("spin", &self.spins), ("hog", &self.hogs)] {
            report.note(format!(
                "turns of those that {who}: {} of p50 {} µs, p99 {} µs, longest {} µs",
                turns.count(),
                micros(turns.median()),
                micros(turns.percentile(99)),
                micros(turns.percentile(100)),
            ));
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

async fn run(config: RuntimeConfig) -> Result<Measured> {
    let host = Host::new().await?;
    let neighbour = host.load("mock", json!({"state": true}), json!({})).await?;
    let (spinning, hogging) = (host.load_fixture("spin").await?, host.load_fixture("hog").await?);
    let mut measured = Measured { quantum: config.quantum, cores: config.cpu, ..Measured::default() };
    for _ in 0..SAMPLES {
        neighbour.check().await.context("warm up")?;
    }
    let (spins, hogs) = (Turns::default(), Turns::default());
    for _ in 0..ROUNDS {
        calls(&neighbour, &mut measured.alone, &mut measured.timer_alone).await?;
        let mut others = JoinSet::new();
        for _ in 0..CALLS {
            others.spawn(again_and_again(spinning.clone(), spins.clone()));
            others.spawn(again_and_again(hogging.clone(), hogs.clone()));
        }
        tokio::time::sleep(PAUSE * 50).await;
        calls(&neighbour, &mut measured.disturbed, &mut measured.timer).await?;
        others.shutdown().await;
    }
    (measured.spins, measured.hogs) = (spins.take(), hogs.take());
    drop((neighbour, spinning, hogging));
    host.close().await;
    Ok(measured)
}

async fn calls(backend: &WasmBackend, times: &mut Times, timer: &mut Times) -> Result<()> {
    for _ in 0..SAMPLES {
        let slept = tokio::time::Instant::now();
        tokio::time::sleep(PAUSE).await;
        timer.push(slept.elapsed().saturating_sub(PAUSE));
        let began = Instant::now();
        backend.check().await.context("check of the neighbour")?;
        times.push(began.elapsed());
    }
    Ok(())
}

/// How long the polls of a crowd's calls took.
#[derive(Clone, Default)]
struct Turns(Arc<Mutex<Times>>);

impl Turns {
    fn push(&self, turns: Vec<Duration>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.into_iter().for_each(|turn| all.push(turn));
    }

    fn take(&self) -> Times {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn again_and_again(backend: WasmBackend, all: Turns) {
    loop {
        let mut turns = Vec::new();
        let mut call = pin!(backend.check());
        let ended = poll_fn(|context| {
            let began = Instant::now();
            let polled = call.as_mut().poll(context);
            let took = began.elapsed();
            if took >= TURN {
                turns.push(took);
            }
            polled
        });
        // It ends as such a guest does: out of fuel, or refused memory.
        let _fault = ended.await;
        all.push(turns);
    }
}
