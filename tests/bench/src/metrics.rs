//! What the page of metrics costs with very many sessions, in the daemon's own processor time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::crowd::{Client, get, part, quiet};
use crate::measure::{Report, Times};

const SESSIONS: usize = if cfg!(debug_assertions) { 500 } else { 10_000 };
/// Processor time is told in steps of 10 ms: many pages are one measurement.
const PAGES: u32 = 100;
const ROUNDS: usize = 5;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let (home, daemon) = quiet(SESSIONS)?;

    let process = daemon.process().context("find the daemon")?;
    let mut client = Client::new(&home.socket())?;
    let (mut times, mut page) = (Times::default(), Vec::new());
    for _ in 0..ROUNDS {
        let before = process.cpu_time().context("read its times")?;
        for _ in 0..PAGES {
            let (status, body) = client.send("GET", "/metrics", "")?;
            ensure!(status == 200, "GET /metrics: {status}");
            page = body;
        }
        let after = process.cpu_time().context("read its times")?;
        times.push((after.0 - before.0 + after.1 - before.1) / PAGES);
    }
    report.time(&format!("CPU of /metrics with {SESSIONS} sessions"), &times, Duration::from_millis(50));
    let page = String::from_utf8_lossy(&page);
    for session in part(&get(&home, "/v1/sessions")?, "").as_array().into_iter().flatten() {
        for name in ["/id", "/name"] {
            let name = part(session, name).as_str().context("a session without a name")?;
            ensure!(!page.contains(name), "the page names the session {name}");
        }
    }
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    report.note(format!("/metrics has {series} samples with {SESSIONS} sessions, and names none of them"));
    daemon.terminate()?;
    Ok(())
}
