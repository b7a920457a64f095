//! Makes the calls, from several tasks at once, and looks at memory before and after.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use seawall_backend::ExecutionBackend as _;
use seawall_testing::processes::Process;
use tokio::task::JoinSet;

use crate::cast::{Cast, WORKERS};
use crate::tally::{Count, Row};

/// Of so many calls one is hostile.
const HOSTILE: u64 = 10;
/// The first tenth of the calls fills every pool, cache and arena; it is compared with the last tenth.
const TENTH: u64 = 10;
/// So often memory is looked at in each of the two, with no call in flight. What the pool keeps for the next calls depends
/// on which of them met, so the most that was seen in the first is what the process takes; what leaked is never given
/// back, so it is in the least that is seen in the last.
const LOOKS: u64 = 5;

/// How it went.
#[derive(Clone, Debug)]
pub struct Soaked {
    /// One row for each who was called.
    pub rows: Vec<Row>,
    /// Resident bytes during the first tenth of the calls, at most, with no call in flight.
    pub before: u64,
    /// Resident bytes during the last tenth, at least, with no call in flight.
    pub after: u64,
    /// How long it took.
    pub took: Duration,
}

impl Soaked {
    /// How much more memory there is afterwards: 0.05 is 5 %. Negative: there is less.
    pub fn growth(&self) -> f64 {
        (self.after as f64 - self.before as f64) / self.before as f64
    }
}

impl fmt::Display for Soaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<10}{:<12}{:>10}{:>12}{:>12}", "called", "ended with", "calls", "mean µs", "longest µs")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        let (before, after) = (self.before >> 10, self.after >> 10);
        writeln!(
            f,
            "resident: {before} KiB in the first tenth, {after} KiB in the last: {:+.1} %",
            self.growth() * 100.0
        )?;
        write!(f, "took {:.1} s", self.took.as_secs_f64())
    }
}

struct Run {
    cast: Cast,
    good: Count,
    hostile: Vec<Count>,
    next: AtomicU64,
    failed: AtomicBool,
}

/// Makes `calls` calls. `progress` is told now and then how many are done.
///
/// # Errors
/// The plugins are not built; or a good call failed, or a hostile one ended in another way than it must: with which.
pub async fn soak(calls: u64, progress: impl Fn(u64)) -> Result<Soaked> {
    let cast = Cast::assemble().await?;
    let hostile = cast.offenders.iter().map(|_| Count::default()).collect();
    let run = Run { cast, good: Count::default(), hostile, next: AtomicU64::new(0), failed: AtomicBool::new(false) };
    let run = Arc::new(run);
    let began = Instant::now();
    let (mut before, mut after) = (0, u64::MAX);
    for look in 1..=LOOKS {
        Run::until(&run, calls / TENTH * look / LOOKS, &progress).await?;
        before = before.max(resident()?);
    }
    for look in (0..LOOKS).rev() {
        Run::until(&run, calls - calls / TENTH * look / LOOKS, &progress).await?;
        after = after.min(resident()?);
    }
    let took = began.elapsed();
    let mut rows = vec![run.good.row("mock", "an answer")];
    rows.extend(run.cast.offenders.iter().zip(&run.hostile).map(|(who, count)| count.row(who.name, who.ends)));
    let Run { cast, .. } = Arc::into_inner(run).context("a task is left")?;
    cast.dismiss().await;
    Ok(Soaked { rows, before, after, took })
}

fn resident() -> Result<u64> {
    let own = Process::read(std::process::id().cast_signed()).context("find this process")?;
    own.resident().context("read its memory")
}

impl Run {
    /// Goes on until `calls` were made in all.
    async fn until(run: &Arc<Self>, calls: u64, progress: &impl Fn(u64)) -> Result<()> {
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let run = Arc::clone(run);
            workers.spawn(async move { run.work(calls).await });
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                // Cancel-safe, both.
                joined = workers.join_next() => match joined {
                    Some(ended) => ended.context("a call panicked")??,
                    None => break,
                },
                _ = ticks.tick() => progress(run.next.load(Ordering::Relaxed).min(calls)),
            }
        }
        // Each worker took one number too many.
        run.next.store(calls, Ordering::Relaxed);
        Ok(())
    }

    async fn work(&self, calls: u64) -> Result<()> {
        while !self.failed.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= calls {
                break;
            }
            let called = if number.is_multiple_of(HOSTILE) {
                self.hostile(number / HOSTILE).await
            } else {
                self.good(number).await
            };
            if called.is_err() {
                // The others need not go on.
                self.failed.store(true, Ordering::Relaxed);
            }
            called.with_context(|| format!("call {number}"))?;
        }
        Ok(())
    }

    async fn good(&self, number: u64) -> Result<()> {
        let Cast { good, workloads, .. } = &self.cast;
        let began = Instant::now();
        match number % HOSTILE {
            1 => {
                let answer = good.inspect(workloads).await.context("a good `inspect` failed")?;
                ensure!(
                    answer.found.len() == workloads.len(),
                    "{} of {} were found",
                    answer.found.len(),
                    workloads.len()
                );
            }
            2 => {
                let page = good.list(None).await.context("a good `list` failed")?;
                ensure!(page.workloads.len() == workloads.len(), "{} were listed", page.workloads.len());
            }
            _ => drop(good.check().await.context("a good `check` failed")?),
        }
        self.good.add(began.elapsed());
        Ok(())
    }

    async fn hostile(&self, number: u64) -> Result<()> {
        let at = usize::try_from(number)? % self.cast.offenders.len();
        let (Some(who), Some(count)) = (self.cast.offenders.get(at), self.hostile.get(at)) else {
            bail!("nobody is hostile");
        };
        let began = Instant::now();
        match who.backend.list(None).await {
            Err(error) if error.kind() == who.ends => {}
            Err(error) => return Err(anyhow!(error).context(format!("{} did not end with {}", who.name, who.ends))),
            Ok(_) => bail!("{} answered", who.name),
        }
        count.add(began.elapsed());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn ten_thousand_calls_of_which_a_tenth_is_hostile_leave_nothing() -> Result<()> {
        // So few calls may by chance first meet late, and what pool and allocator keep for that looks like a leak. A leak
        // is in every run.
        let mut least = f64::INFINITY;
        for _ in 0..3 {
            let soaked = soak(10_000, |_| ()).await?;
            println!("{soaked}");
            let made: u64 = soaked.rows.iter().map(|row| row.calls).sum();
            assert_eq!(made, 10_000);
            assert!(soaked.rows.iter().all(|row| row.calls > 0), "{soaked}");
            least = least.min(soaked.growth());
            if least < 0.05 {
                break;
            }
        }
        assert!(least < 0.05, "memory grew by {least:.2} of what it was, at least, in each of three runs");
        Ok(())
    }
}
