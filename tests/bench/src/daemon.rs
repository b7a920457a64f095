//! The daemon: how soon it serves, and what it holds when nothing happens.

use std::time::Duration;

use anyhow::{Context, Result};
use seawall_testing::daemon::{Home, seawall_binary};

use crate::measure::{Report, Times};

const STARTS: usize = 10;

/// Long enough for first checks and sweeps to be over and for the allocator to have settled.
const IDLE: Duration = Duration::from_secs(10);

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let home = Home::new(&seawall_binary()?)?;
    // The first start compiles the plugins.
    home.serve(true)?.terminate()?;
    let mut ready = Times::default();
    for _ in 0..STARTS {
        let daemon = home.serve(true)?;
        ready.push(daemon.ready_after());
        daemon.terminate()?;
    }
    report.time("daemon ready, warm cache", &ready, Duration::from_millis(300));

    let daemon = home.serve(true)?;
    std::thread::sleep(IDLE);
    let resident = daemon.process().and_then(|process| process.resident()).context("read its memory")?;
    report.size("daemon resident, idle, three backends", resident, 60 << 20);
    daemon.terminate()?;
    Ok(())
}
