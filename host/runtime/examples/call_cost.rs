//! What an isolated call costs: `check` through everything, against bare wasmtime on the same component and pool.
//!
//!     cargo run --release -p seawall-runtime --example call_cost -- plugins/dist/mock.wasm
//!
//! The two take turns, so that what disturbs one disturbs the other.

use std::time::Instant;

use anyhow::Context as _;
use seawall_backend::ExecutionBackend as _;
use seawall_runtime::{Grants, Plugin, Runtime, RuntimeConfig, Services};
use seawall_store::Store;

const ROUNDS: usize = 20_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("name a component: plugins/dist/mock.wasm")?;
    let wasm = std::fs::read(&path).with_context(|| format!("failed to read {path}"))?;
    let temp = tempfile::tempdir()?;
    let services = Services {
        store: Store::open(&temp.path().join("data")).await?,
        runs: temp.path().join("runs"),
        supervisor: temp.path().join("none"),
        protected: Vec::new(),
    };
    let runtime = Runtime::new(RuntimeConfig::default())?;
    let plugin = Plugin { grants: Grants::all(), ..Plugin::new("bench".parse()?, wasm) };
    let backend = runtime.load(plugin, &services).await?;

    let (mut isolated, mut bare) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for round in 0..ROUNDS + 1000 {
        let begun = Instant::now();
        let answer = backend.check().await;
        let took = begun.elapsed();
        answer?;
        let alone = backend.bare_check().await.map_err(|error| anyhow::anyhow!("{error:#}"))?;
        // The first thousand only warm it.
        if round >= 1000 {
            isolated.push(took);
            bare.push(alone);
        }
    }
    isolated.sort();
    bare.sort();
    for (what, times) in [("isolated", &isolated), ("bare", &bare)] {
        let at = |share: usize| times.get(times.len() * share / 100).map_or(0, std::time::Duration::as_nanos);
        println!("{what:>8}: median {:>6} ns, 90% {:>6} ns, 99% {:>6} ns", at(50), at(90), at(99));
    }
    let median =
        |times: &[std::time::Duration]| times.get(times.len() / 2).map_or(0.0, std::time::Duration::as_secs_f64);
    println!("   ratio: {:.2}", median(&isolated) / median(&bare));
    runtime.shutdown();
    services.store.close().await;
    Ok(())
}
