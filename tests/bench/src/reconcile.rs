//! The control loop with very many sessions: what a tick over them costs, what they hold in memory, and how soon those
//! that die are back. A real daemon with the mock backend, which costs next to nothing itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use seawall_model::Timestamp;
use seawall_testing::daemon::{Daemon, Home};
use serde_json::{Value, json};

use crate::crowd::{create, get, part, serve, serve_again, settle, until_running};
use crate::measure::{Report, Times};

/// Without optimisation the numbers say nothing: then only that it can be measured is of interest.
const SCALE: usize = if cfg!(debug_assertions) { 20 } else { 1 };

const SESSIONS: usize = 10_000 / SCALE;
const WINDOWS: usize = 6;
const WINDOW: Duration = Duration::from_secs(5);
/// Sessions that one call is about, at most.
const PAGE: f64 = 1000.0;
/// Of processor time, for one look at all of them.
const MOST: Duration = Duration::from_millis(100);

const MORTALS: usize = 1_000 / SCALE;
const DYING: usize = 100 / SCALE;
/// From when they are made to when they die.
const LIFE: Duration = Duration::from_secs(8);

/// How sessions that die at once are looked after.
struct Mourning {
    config: &'static str,
    sweep: Duration,
    /// How long it may be from one sweep to the next: the interval, the tenth that it is moved by, and what one takes.
    most: Duration,
}

const MOURNING: [Mourning; 2] = [
    // The defaults.
    Mourning { config: "", sweep: Duration::from_secs(5), most: Duration::from_millis(5_600) },
    // A backoff of a second would be waited for, whatever the sweep.
    Mourning {
        config: "[control]\nsweep-interval = \"500ms\"\nrestart = { first = \"100ms\", most = \"5m\" }\n",
        sweep: Duration::from_millis(500),
        most: Duration::from_millis(650),
    },
];

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    ticks(report).context("ticks over sessions that are well")?;
    MOURNING.iter().try_for_each(|mourning| deaths(report, mourning)).context("sessions that die at once")
}

fn ticks(report: &mut Report) -> Result<()> {
    let (home, daemon) = serve("[control]\nsweep-interval = \"1s\"\nlist-interval = \"1h\"\n")?;
    let (began, commits) = (Instant::now(), metric(&home, "seawall_store_commits_total{}")?);
    create(&home, SESSIONS, || json!({"backend": "mock"}))?;
    let asked = began.elapsed();
    until_running(&home, SESSIONS)?;
    let took = began.elapsed();
    let count = f64::from(u32::try_from(SESSIONS).context("count sessions")?);
    report.speed(&format!("{SESSIONS} sessions asked for, made and running"), count / took.as_secs_f64(), 1000.0);
    let commits = metric(&home, "seawall_store_commits_total{}")? - commits;
    let [asked, took] = [asked, took].map(|time| time.as_secs_f64());
    report
        .note(format!("{SESSIONS} sessions: asked for within {asked:.1} s, run after {took:.1} s, {commits} commits"));
    settle();

    let what = format!("CPU of a reconcile tick over {SESSIONS} sessions");
    looked(report, &what, ("inspect", (count / PAGE).ceil()), &home, &daemon)?;
    let resident = daemon.process().and_then(|process| process.resident()).context("read its memory")?;
    report.size(&format!("daemon resident with {SESSIONS} sessions"), resident, 150 << 20);
    daemon.terminate()?;

    // Another daemon on the same store, which does nothing but list.
    let daemon = serve_again(&home, "[control]\nsweep-interval = \"1h\"\nlist-interval = \"1s\"\n")?;
    until_running(&home, SESSIONS)?;
    settle();
    let what = format!("CPU of a listing of {SESSIONS} sessions, for orphans");
    // A page that is full is followed by another one.
    looked(report, &what, ("list", (count / PAGE).floor() + 1.0), &home, &daemon)?;
    daemon.terminate()?;
    Ok(())
}

/// What each look costs that makes so many calls of this function, of a daemon that does nothing else: all of its
/// processor time counts.
fn looked(report: &mut Report, what: &str, call: (&str, f64), home: &Home, daemon: &Daemon) -> Result<()> {
    let (function, pages) = call;
    let process = daemon.process().context("find the daemon")?;
    let label = format!("function=\"{function}\",outcome=\"ok\"");
    let calls = || -> Result<(f64, f64)> {
        let one = |kind| metric(home, &format!("seawall_call_duration_seconds_{kind}{{backend=\"mock\",{label}}}"));
        Ok((one("count")?, one("sum")?))
    };
    let (mut times, first) = (Times::default(), calls()?);
    let (mut user, mut system, mut last) = (Duration::ZERO, Duration::ZERO, first);
    for _ in 0..WINDOWS {
        let before = process.cpu_time().context("read its times")?;
        std::thread::sleep(WINDOW);
        let (after, called) = (process.cpu_time().context("read its times")?, calls()?);
        let looks = (called.0 - last.0) / pages;
        ensure!(looks > 0.0, "no look within {WINDOW:?}");
        let (in_user, in_system) = (after.0 - before.0, after.1 - before.1);
        times.push((in_user + in_system).div_f64(looks));
        (user, system, last) = (user + in_user, system + in_system, called);
    }
    report.time(what, &times, MOST);
    let (called, guest) = (last.0 - first.0, (last.1 - first.1) * 1e3);
    let looks = called / pages;
    let each = |time: Duration| time.as_secs_f64() * 1e3 / looks;
    report.note(format!(
        "{what}: {:.1} ms user, {:.1} ms system, {looks:.0} looks of {pages} calls of `{function}`, which took {:.2} ms \
         each and {:.1} ms of a look, by the clock; the rest is asking and taking in",
        each(user),
        each(system),
        guest / called,
        guest / looks,
    ));
    Ok(())
}

/// A sample of the page of metrics; 0 if it is not there yet.
fn metric(home: &Home, name: &str) -> Result<f64> {
    let page = home.http("GET", "/metrics", None)?.text();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(Ok(0.0), |value| value.parse().with_context(|| format!("{name} is {value}")))
}

fn deaths(report: &mut Report, mourning: &Mourning) -> Result<()> {
    let Mourning { config, sweep, most } = *mourning;
    let (home, daemon) = serve(config)?;
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
        ensure!(began.elapsed() < LIFE + sweep * 12, "{} of {DYING} came back", back.len());
        let swept = time(part(&get(&home, "/v1/backends/mock")?, "/swept_at"))?;
        if sweeps.last() != Some(&swept) {
            sweeps.push(swept);
        }
        for event in started(&home, from)?.into_iter().filter(|event| part(event, "/incarnation") == 2) {
            back.entry(part(&event, "/session").to_string()).or_insert(time(part(&event, "/at"))?);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut after = Times::default();
    back.values().for_each(|at| after.push(at.since(death)));
    let every = format!("a sweep each {sweep:?}");
    let what = format!("{DYING} of {MORTALS} sessions die at once, {every}: they run again after");
    report.tail(&what, &after, 2 * sweep);
    let mut between = Times::default();
    sweeps.iter().zip(sweeps.iter().skip(1)).for_each(|(one, next)| between.push(next.since(*one)));
    report.tail(&format!("{every}: from one to the next meanwhile"), &between, most);
    daemon.terminate()?;
    Ok(())
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

fn time(value: &Value) -> Result<Timestamp> {
    value.as_str().unwrap_or_default().parse().with_context(|| format!("{value} is no time"))
}
