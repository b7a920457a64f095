//! What the daemon takes of the machine.

use anyhow::{Context, Result};
use seawall_testing::daemon::Home;
use seawall_testing::processes::Process;

/// At one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    /// Bytes.
    pub(crate) resident: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// Of its executor, with the one that answered this.
    pub(crate) tasks: usize,
}

impl Vitals {
    pub(crate) fn of(pid: i32, home: &Home) -> Result<Self> {
        let entries = |what: &str| -> Result<usize> {
            let dir = format!("/proc/{pid}/{what}");
            Ok(std::fs::read_dir(&dir).with_context(|| format!("read {dir}"))?.count())
        };
        let process = Process::read(pid).context("the daemon has ended")?;
        let resident = process.resident().context("read its memory")?;
        let metrics = home.http("GET", "/metrics", None).context("ask for the metrics")?.text();
        let tasks = metrics
            .lines()
            .find_map(|line| line.strip_prefix("seawall_tasks")?.rsplit(' ').next()?.parse::<f64>().ok());
        let tasks = tasks.context("the metrics have no seawall_tasks")? as usize;
        Ok(Self { resident, descriptors: entries("fd")?, threads: entries("task")?, tasks })
    }
}
