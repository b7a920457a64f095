//! What Seawall costs, each thing beside what it is compared with, in one run: `cargo xtask bench [NAME]`.
//!
//! Two things that are compared take turns, so that what disturbs one disturbs the other, and medians are compared.
//! Nothing is asserted: a number that misses its target is shown as such.

mod api;
mod breaker;
mod call;
mod crowd;
mod daemon;
mod engine;
mod followers;
mod fuel;
mod guest;
mod hands;
mod inspect;
mod logs;
mod measure;
mod metrics;
mod neighbours;
mod reconcile;
mod recorded;
mod usage;
mod watch;

use std::path::Path;

use anyhow::{Context, Result};

use crate::measure::Report;

/// The daemon's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start tokio")?;
    let mut report = Report::default();
    let wanted = |name: &str| name.contains(&only);
    if wanted("call") {
        runtime.block_on(call::measure(&mut report)).context("measure an isolated call")?;
    }
    if wanted("breaker") {
        runtime.block_on(breaker::measure(&mut report)).context("measure an open breaker")?;
    }
    if wanted("inspect") {
        runtime.block_on(inspect::measure(&mut report)).context("measure inspect")?;
    }
    if wanted("fuel") {
        runtime.block_on(fuel::measure(&mut report)).context("measure what fuel costs")?;
    }
    if wanted("neighbours") {
        neighbours::measure(&mut report).context("measure a neighbour's calls")?;
    }
    if wanted("daemon") {
        daemon::measure(&mut report).context("measure the daemon")?;
    }
    if wanted("reconcile") {
        reconcile::measure(&mut report).context("measure the control loop")?;
    }
    if wanted("api") {
        api::measure(&mut report).context("measure the API")?;
    }
    if wanted("metrics") {
        metrics::measure(&mut report).context("measure the metrics page")?;
    }
    if wanted("sweep") {
        runtime.block_on(engine::sweep(&mut report)).context("measure a sweep")?;
    }
    if wanted("stats") {
        runtime.block_on(usage::measure(&mut report)).context("measure `stats`")?;
    }
    if wanted("watch") {
        watch::measure(&mut report).context("measure how soon a death is seen")?;
    }
    if wanted("hands") {
        hands::measure(&mut report).context("measure `seawall exec`")?;
    }
    if wanted("logs") {
        logs::measure(&mut report).context("measure `seawall logs`")?;
    }
    if wanted("followers") {
        followers::measure(&mut report).context("measure what followers take")?;
    }
    if wanted("run") {
        engine::run(&mut report).context("measure `seawall run`")?;
    }
    if cfg!(debug_assertions) {
        report.note("this is NOT a release build: only the ratios say anything, and little; use `cargo xtask bench`");
    }
    let file = Path::new("target/bench.json");
    report.write(file).with_context(|| format!("write {}", file.display()))?;
    println!("{report}");
    println!("written to {}", file.display());
    Ok(())
}
