//! Resident memory of a loaded plugin and of a call in flight, each road in a process of its own that does nothing else.
//!
//! What is read is the proportional share (`Pss` of `/proc/PID/smaps_rollup`) of this process, and of the plugin's process
//! where there is one. *Loaded* is the growth from one loaded plugin to more of them, divided by how many; code comes
//! from a cache where there is one, as in a daemon that has run before. *In flight* is the growth from none to twenty
//! calls that the plugin holds when its answer is ready, divided by twenty.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use seawall_model::Key;
use serde_json::{Value, json};

#[cfg(feature = "extism")]
use crate::extism;
use crate::peer::{Peer, held, keys};
use crate::{Files, grpc, native, seawall};

/// Calls that are held at one time: as many as Seawall has permits for.
const HELD: usize = 20;

/// Plugins that are loaded beside the first.
const LOADED: usize = 8;

/// All that are measured: those of which a plugin has memory of its own.
pub(crate) const ROADS: &[&str] =
    if cfg!(feature = "extism") { &["seawall", "grpc", "extism"] } else { &["seawall", "grpc"] };

/// What was measured, in bytes.
pub(crate) fn measure(road: &str, files: &Files, cache: &Path) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match road {
            "seawall" => seawall(files, cache).await,
            "grpc" => grpc(files).await,
            #[cfg(feature = "extism")]
            "extism" => extism(files, cache).await,
            other => anyhow::bail!("no road {other}"),
        }
    })
}

async fn seawall(files: &Files, cache: &Path) -> Result<Value> {
    let host = seawall::Seawall::new(Some(&cache.join("seawall"))).await?;
    let wasm = files.guest()?;
    // What loading needs once, and the compilation if nobody did it yet, is not counted.
    let first = native::Through(host.load(&wasm).await?);
    first.check().await?;
    let before = resident(&[])?;
    let mut more = Vec::new();
    for _ in 0..LOADED {
        more.push(host.load(&wasm).await?);
    }
    let loaded = grown(before, &[])? / LOADED as u64;
    drop(more);
    let flight = in_flight(&[], Arc::new(first)).await?;
    host.close().await;
    Ok(json!({"loaded": loaded, "in_flight": flight}))
}

async fn grpc(files: &Files) -> Result<Value> {
    // The first client's own costs are not the plugin's.
    let first = grpc::Grpc::start(files.server()).await?;
    first.check().await?;
    let before = resident(&[])?;
    let plugin = grpc::Grpc::start(files.server()).await?;
    plugin.check().await?;
    drop(first);
    let pids = [plugin.pid()];
    let loaded = grown(before, &pids)?;
    let flight = in_flight(&pids, Arc::new(plugin)).await?;
    Ok(json!({"loaded": loaded, "in_flight": flight}))
}

#[cfg(feature = "extism")]
async fn extism(files: &Files, cache: &Path) -> Result<Value> {
    let config = cache.join("extism.toml");
    std::fs::write(&config, format!("[cache]\ndirectory = \"{}\"\n", cache.join("extism").display()))?;
    let wasm = files.extism()?;
    let compiled = extism::compile(&wasm, Some(&config))?;
    extism::Kept::new(&compiled, 1)?.check().await?;
    let before = resident(&[])?;
    let mut more = Vec::new();
    for _ in 0..LOADED {
        let compiled = extism::compile(&wasm, Some(&config))?;
        let kept = extism::Kept::new(&compiled, 1)?;
        kept.check().await?;
        more.push((compiled, kept));
    }
    let loaded = grown(before, &[])? / LOADED as u64;
    drop(more);
    let mut flight = Vec::new();
    for sessions in [1, 1_000] {
        let asked: Arc<[Key]> = held(keys(sessions)?).into();
        let before = resident(&[])?;
        // A call of Extism's takes a thread for as long as it lasts.
        let held: Vec<_> =
            (0..HELD).map(|_| extism::Held::start(&compiled, Arc::clone(&asked))).collect::<Result<_>>()?;
        let bytes = settled(before, &[]).await? / HELD as u64;
        held.iter().try_for_each(extism::Held::lasts)?;
        held.into_iter().try_for_each(extism::Held::end)?;
        flight.push(json!({"sessions": sessions, "bytes": bytes}));
    }
    Ok(json!({"loaded": loaded, "in_flight": flight}))
}

/// Calls that are held, of one session and of a thousand.
async fn in_flight(pids: &[u32], peer: Arc<dyn Peer>) -> Result<Value> {
    let mut flight = Vec::new();
    for sessions in [1, 1_000] {
        let asked: Arc<[Key]> = held(keys(sessions)?).into();
        let before = resident(pids)?;
        let calls: Vec<_> = (0..HELD)
            .map(|_| {
                let (peer, asked) = (Arc::clone(&peer), Arc::clone(&asked));
                tokio::spawn(async move { peer.inspect(&asked).await })
            })
            .collect();
        let bytes = settled(before, pids).await? / HELD as u64;
        for call in calls {
            ensure!(!call.is_finished(), "a call that is held came to an end: {:?}", call.await);
            call.abort();
            _ = call.await;
        }
        flight.push(json!({"sessions": sessions, "bytes": bytes}));
    }
    Ok(flight.into())
}

/// By how much memory has grown, once it does not grow any more.
async fn settled(before: u64, pids: &[u32]) -> Result<u64> {
    let (mut last, mut same) = (0, 0);
    // The held calls would come to the end of their fuel or their deadline at last.
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = grown(before, pids)?;
        same = if now == last { same + 1 } else { 0 };
        if same == 6 {
            break;
        }
        last = now;
    }
    Ok(last)
}

fn grown(before: u64, pids: &[u32]) -> Result<u64> {
    Ok(resident(pids)?.saturating_sub(before))
}

/// Bytes of this process and of these.
fn resident(pids: &[u32]) -> Result<u64> {
    let mut sum = share("self")?;
    for pid in pids {
        sum += share(&pid.to_string())?;
    }
    Ok(sum)
}

fn share(process: &str) -> Result<u64> {
    let file = format!("/proc/{process}/smaps_rollup");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:")).and_then(|rest| rest.split_whitespace().next());
    Ok(kib.with_context(|| format!("no Pss in {file}"))?.parse::<u64>()? * 1024)
}
