//! What fuel costs: `inspect` of a thousand containers, with fuel counted and with guests compiled without it.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use seawall_backend::ExecutionBackend as _;
use seawall_runtime::{Runtime, WasmBackend};
use serde_json::json;

use crate::guest::Host;
use crate::inspect::Thousand;
use crate::measure::{Report, Times};

const ROUNDS: usize = 300;
const WARM: usize = 20;

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let (counted, free) = (Host::new().await?, Host::with(Runtime::without_fuel).await?);
    let (with, without) = (Thousand::of(&counted)?, Thousand::of(&free)?);
    let metered = counted.load("docker", with.grants.clone(), json!({})).await?;
    let plain = free.load("docker", without.grants.clone(), json!({})).await?;
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for round in 0..WARM + ROUNDS {
        for (backend, thousand, times) in [(&metered, &with, &mut ours), (&plain, &without, &mut theirs)] {
            let took = inspect(backend, thousand).await?;
            if round >= WARM {
                times.push(took);
            }
        }
    }
    report.compare("inspect of 1,000, fuel counted", &ours, ("compiled without fuel", &theirs), 1.5);
    drop((metered, plain));
    counted.close().await;
    free.close().await;
    Ok(())
}

async fn inspect(backend: &WasmBackend, thousand: &Thousand) -> Result<std::time::Duration> {
    let began = Instant::now();
    let answer = backend.inspect(&thousand.keys).await.context("inspect")?;
    let took = began.elapsed();
    ensure!(answer.found.len() == thousand.keys.len(), "{} were found", answer.found.len());
    Ok(took)
}
