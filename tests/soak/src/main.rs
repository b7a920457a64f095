//! `cargo xtask soak [--calls N]`: prints how far it is, then a table. Fails if any call went otherwise than it must, or
//! if the memory did not come back.

use anyhow::{Context, Result, ensure};
use seawall_soak::soak;

/// How much more memory there may be in the end.
const GROWTH: f64 = 0.05;

fn main() -> Result<()> {
    let calls = std::env::args().nth(1).context("say how many calls")?;
    let calls: u64 = calls.parse().with_context(|| format!("{calls:?} is no number of calls"))?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let soaked = runtime.block_on(soak(calls, |done| println!("   {done} of {calls} calls")))?;
    println!("{soaked}");
    ensure!(soaked.growth() < GROWTH, "memory grew by more than {:.0} %", GROWTH * 100.0);
    Ok(())
}
