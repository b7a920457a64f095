//! The control loop with very many sessions: what a tick over them costs, what they hold in memory, and how soon those
//! that die are back. A real daemon with the mock backend, which costs next to nothing itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use seawall_model::Timestamp;
use seawall_testing::daemon::{Daemon, Home, seawall_binary};
use serde_json::{Value, json};

use crate::measure::{Report, Times};

/// Without optimisation the numbers say nothing: then only that it can be measured is of interest.
const SCALE: usize = if cfg!(debug_assertions) { 20 } else { 1 };

const SESSIONS: usize = 10_000 / SCALE;
/// Requests at a time while sessions are made.
const CLIENTS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(600);
/// Long enough for the looks that follow each start to be over.
const SETTLED: Duration = Duration::from_secs(10);
const WINDOWS: usize = 6;
const WINDOW: Duration = Duration::from_secs(5);

const MORTALS: usize = 1_000 / SCALE;
const DYING: usize = 100 / SCALE;
/// From when they are made to when they die.
const LIFE: Duration = Duration::from_secs(12);
/// The default.
const SWEEP: Duration = Duration::from_secs(5);
/// By how much a sweep may be moved, and how long it may take.
const NOT_DELAYED: Duration = Duration::from_millis(5_600);

const MOCK_ALONE: &str = "[backend.docker]\nenabled = false\n[backend.process]\nenabled = false\n";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    ticks(report).context("ticks over sessions that are well")?;
    deaths(report).context("sessions that die at once")
}

fn ticks(report: &mut Report) -> Result<()> {
    let (home, daemon) = serve("[control]\nsweep-interval = \"1s\"\n")?;
    create(&home, SESSIONS, || json!({"backend": "mock"}))?;
    until_running(&home, SESSIONS)?;
    std::thread::sleep(SETTLED);

    let process = daemon.process().context("find the daemon")?;
    let mut ticks = Times::default();
    let (mut user, mut system, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    for _ in 0..WINDOWS {
        let (before, began) = (process.cpu_time().context("read its times")?, looks(&home)?);
        std::thread::sleep(WINDOW);
        let (after, ended) = (process.cpu_time().context("read its times")?, looks(&home)?);
        let looks = u32::try_from(ended - began).context("count ticks")?;
        ensure!(looks > 0, "no sweep within {WINDOW:?}");
        let (in_user, in_system) = (after.0 - before.0, after.1 - before.1);
        ticks.push((in_user + in_system) / looks);
        (user, system, count) = (user + in_user, system + in_system, count + looks);
    }
    let what = format!("CPU of a reconcile tick over {SESSIONS} sessions");
    report.time(&what, &ticks, Duration::from_millis(100));
    let each = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(count);
    report.note(format!("a reconcile tick: {:.1} ms user, {:.1} ms system, {count} ticks", each(user), each(system)));
    let resident = process.resident().context("read its memory")?;
    report.size(&format!("daemon resident with {SESSIONS} sessions"), resident, 150 << 20);
    daemon.terminate()?;
    Ok(())
}

fn deaths(report: &mut Report) -> Result<()> {
    let (home, daemon) = serve("")?;
    create(&home, MORTALS - DYING, || json!({"backend": "mock", "restart": "always"}))?;
    until_running(&home, MORTALS - DYING)?;
    let from = last_event(&home)?;
    let death = Timestamp::now() + LIFE;
    create(&home, DYING, || {
        let left = format!("{}ms", death.since(Timestamp::now()).as_millis());
        json!({"backend": "mock", "restart": "always", "options": {"exit_after": left}})
    })?;
    until_running(&home, MORTALS)?;
    ensure!(death > Timestamp::now(), "making {DYING} sessions took longer than {LIFE:?}");

    let mut sweeps = Vec::new();
    let mut back = BTreeMap::new();
    let began = Instant::now();
    // One sweep more than needed, so that one that comes late is seen.
    while back.len() < DYING || sweeps.len() < 4 {
        ensure!(began.elapsed() < LIFE + SWEEP * 12, "{} of {DYING} came back", back.len());
        let swept = time(part(&get(&home, "/v1/backends/mock")?, "/swept_at"))?;
        if sweeps.last() != Some(&swept) {
            sweeps.push(swept);
        }
        for event in started(&home, from)?.into_iter().filter(|event| part(event, "/incarnation") == 2) {
            back.entry(part(&event, "/session").to_string()).or_insert(time(part(&event, "/at"))?);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut after = Times::default();
    back.values().for_each(|at| after.push(at.since(death)));
    let what = format!("{DYING} of {MORTALS} sessions die at once, and run again after");
    report.tail(&what, &after, 2 * SWEEP);
    let mut between = Times::default();
    sweeps.iter().zip(sweeps.iter().skip(1)).for_each(|(one, next)| between.push(next.since(*one)));
    report.tail("between two sweeps meanwhile", &between, NOT_DELAYED);
    daemon.terminate()?;
    Ok(())
}

fn serve(config: &str) -> Result<(Home, Daemon)> {
    let home = Home::new(&seawall_binary()?)?;
    home.configure(&format!("{config}{MOCK_ALONE}"))?;
    let daemon = home.serve(true)?;
    Ok((home, daemon))
}

/// Makes so many sessions, several at a time: each client waits until its session runs, or all would queue for the
/// backend's permits.
fn create(home: &Home, count: usize, spec: impl Fn() -> Value + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            if next.fetch_add(1, Ordering::Relaxed) >= count {
                return Ok(());
            }
            let answer = home.http("POST", "/v1/sessions?wait=true", Some(&spec().to_string()))?;
            ensure!(answer.status == 201, "a session was refused: {}", answer.text());
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        clients.into_iter().try_for_each(|client| match client.join() {
            Ok(made) => made,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn get(home: &Home, path: &str) -> Result<Value> {
    let answer = home.http("GET", path, None)?;
    ensure!(answer.status == 200, "GET {path}: {}", answer.text());
    Ok(answer.json())
}

fn until_running(home: &Home, count: usize) -> Result<()> {
    let began = Instant::now();
    while part(&get(home, "/v1/backends/mock")?, "/sessions/running").as_u64() != Some(count as u64) {
        ensure!(began.elapsed() < PATIENCE, "{count} sessions do not come to run");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// How often the daemon has looked at its sessions.
fn looks(home: &Home) -> Result<u64> {
    part(&get(home, "/v1/backends/mock")?, "/swept_by/number").as_u64().context("count the looks")
}

/// A page of the journal.
fn events(home: &Home, query: &str) -> Result<Value> {
    let head = format!(
        "GET /v1/events?{query} HTTP/1.1\r\nHost: seawall\r\nConnection: close\r\nAccept: application/json\r\n\r\n"
    );
    Ok(seawall_testing::http::raw(&home.socket(), head.as_bytes())?.json())
}

fn last_event(home: &Home) -> Result<u64> {
    part(&events(home, "tail=0")?, "/next").as_u64().context("find the newest event")
}

fn started(home: &Home, from: u64) -> Result<Vec<Value>> {
    let page = events(home, &format!("since={from}&kind=session.started&limit=1000"))?;
    Ok(part(&page, "/events").as_array().cloned().unwrap_or_default())
}

/// What stands there in a document; nothing, if there is nothing.
fn part<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    document.pointer(pointer).unwrap_or(&Value::Null)
}

fn time(value: &Value) -> Result<Timestamp> {
    value.as_str().unwrap_or_default().parse().with_context(|| format!("{value} is no time"))
}
