//! An isolated call: `check` of the mock plugin, with a fresh instance and every limit, beside bare wasmtime.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use seawall_backend::ExecutionBackend as _;
use serde_json::json;

use crate::guest::Host;
use crate::measure::{Report, Times};

const WARM: usize = 2_000;
const ROUNDS: usize = 20_000;

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let host = Host::new().await?;
    let backend = host.load("mock", json!({"state": true}), json!({})).await?;
    let (mut isolated, mut bare) = (Times::default(), Times::default());
    for round in 0..WARM + ROUNDS {
        let began = Instant::now();
        let answer = backend.check().await;
        let took = began.elapsed();
        answer.context("check")?;
        let alone = backend.bare_check().await.map_err(|error| anyhow!("{error:#}"))?;
        if round >= WARM {
            isolated.push(took);
            bare.push(alone);
        }
    }
    report.compare("isolated call of check", &isolated, ("bare wasmtime, same pool", &bare), 1.3);
    report.time("isolated call of check", &isolated, Duration::from_micros(10));
    drop(backend);
    host.close().await;
    Ok(())
}
