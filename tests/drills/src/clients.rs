//! Clients that are slow, stuck or gone: subscribers of events that hardly read or never do, `logs -f` that never reads,
//! connections that end in the middle of an answer. Others are served meanwhile, a slow subscriber misses nothing without
//! being told, and afterwards the daemon has its descriptors, tasks, permits and memory back.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;
use seawall_testing::PATIENCE;
use seawall_testing::daemon::Home;
use seawall_testing::http;
use serde_json::{Value, json};

use crate::api::{Told, ask};
use crate::load::{Client, Ledger, under_load};
use crate::run::Course;
use crate::stage::Stage;
use crate::verdict::{clear_away, settle_and_judge};
use crate::vitals::Vitals;

const SHORT: u32 = 2;
const FULL: u32 = 20;
/// As many streams as one backend may have open; the next is refused.
const STREAMS: usize = 200;
/// Over so many sessions: one alone may not have all of them.
const TALKERS: usize = 4;
/// Of each kind beside them.
const EACH: usize = 40;
/// So long it goes on with all of them there.
const TIME: Duration = Duration::from_secs(5);
/// Between two events that a slow subscriber reads.
const SLOW: Duration = Duration::from_millis(40);
/// The longest pause between two requests of a client that works.
const BREATH: Duration = Duration::from_millis(20);
/// Descriptors that may be open besides, and tasks that may be there: of the store's readers, of sessions that have work
/// just now, and of whoever asks.
const SPARE: usize = 8;
/// How much more memory there may be after a round than before it. The first is not judged by it: what the allocator has
/// had once, for the buffers of hundreds of streams, it keeps for the next time.
const GROWTH: u64 = 48 << 20;

pub(crate) fn play(course: &mut Course) -> Result<()> {
    let rounds = if course.full { FULL } else { SHORT };
    let mut rng = course.rng(0);
    let mut stage = Stage::set(None, &course.interrupt, "")?;
    stage.serve()?;
    let mut clients = Client::all(&stage, BREATH, &mut rng);
    // More than any buffer on the way takes, and a little now and then.
    let script = "head -c 4000000 /dev/zero | tr '\\0' x; while :; do echo tick; sleep 0.1; done";
    for talker in 0..TALKERS {
        let spec = json!({"backend": "process", "name": format!("talker-{talker}"), "command": ["sh", "-c", script]});
        stage.create(&spec)?;
    }
    for round in 1..=rounds {
        stage.interrupt.check()?;
        crowd(course, &stage, &mut clients, &mut rng, round == 1)?;
        course.note(format_args!("{round} of {rounds} rounds"));
    }
    for talker in 0..TALKERS {
        stage.remove(&format!("talker-{talker}"))?;
    }
    for client in &clients {
        course.tally.add("requests", client.answered + client.cut_off);
    }
    let ledger: Ledger = clients.into_iter().flat_map(|client| client.ledger).collect();
    stage.kill()?;
    settle_and_judge(&mut stage, &ledger, &mut course.tally)?;
    ensure!(course.tally.clean(), "the daemon's last words:\n{}", stage.home.log_end());
    clear_away(&mut stage, &mut course.tally)
}

/// All of them come, stay for a while, and go.
fn crowd(course: &mut Course, stage: &Stage, clients: &mut [Client], rng: &mut StdRng, first: bool) -> Result<()> {
    const EVENTS: &str = "/v1/events?follow=true";
    let pid = stage.daemon_pid().context("no daemon runs")?;
    let before = Vitals::of(pid, &stage.home)?;
    let socket = stage.home.socket();
    let slow = Subscriber::open(&stage.home, EVENTS)?;
    let stuck: Vec<UnixStream> = (0..EACH).map(|_| request(&stage.home, EVENTS)).collect::<Result<_>>()?;
    let readers: Vec<UnixStream> = (0..STREAMS).map(|at| http::open(&socket, &logs(at))).collect::<Result<_, _>>()?;
    let read = under_load(clients, stage, || {
        let told = ask(&stage.home, "GET", "/v1/sessions/talker-0/logs", None);
        ensure!(matches!(&told, Told::No(503, why) if why.contains("urn:seawall:problem:full")), "{told:?}");
        let until = Instant::now() + TIME;
        let reading = std::thread::spawn(move || slow.read(until));
        for _ in 0..EACH {
            vanish(&stage.home, if rng.random_bool(0.5) { EVENTS } else { "/v1/sessions?all=true" }, rng)?;
        }
        while Instant::now() < until {
            ensure!(matches!(ask(&stage.home, "GET", "/v1/sessions", None), Told::Yes(_)), "others are not served");
            stage.rest(SLOW)?;
        }
        match reading.join() {
            Ok(read) => read,
            Err(_) => bail!("the slow subscriber panicked"),
        }
    })?;
    let clients = (1 + stuck.len() + readers.len() + EACH) as u64;
    drop((stuck, readers));

    stage.until("descriptors, tasks and memory are given back", || {
        let now = Vitals::of(pid, &stage.home)?;
        let back = now.descriptors <= before.descriptors + SPARE
            && now.tasks <= before.tasks + SPARE
            && (first || now.resident <= before.resident + GROWTH);
        Ok(if back { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) })
    })?;
    stage.until("permits are given back", || {
        let all = (0..STREAMS).map(|at| http::open(&socket, &logs(at))).collect::<Result<Vec<_>, _>>();
        Ok(all.map(drop).map_err(|error| error.to_string()))
    })?;
    course.tally.add("troublesome clients", clients);
    course.tally.add("events read slowly", read);
    Ok(())
}

/// Of one session after the other.
fn logs(at: usize) -> String {
    format!("/v1/sessions/talker-{}/logs?follow=true", at % TALKERS)
}

/// Asks, and reads nothing.
fn request(home: &Home, target: &str) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(home.socket()).context("connect")?;
    stream.set_read_timeout(Some(PATIENCE)).context("set a timeout")?;
    let head = format!("GET {target} HTTP/1.1\r\nHost: seawall\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).context("ask")?;
    Ok(stream)
}

/// Goes away somewhere between the first byte of its question and the middle of the answer.
fn vanish(home: &Home, target: &str, rng: &mut StdRng) -> Result<()> {
    let mut stream = UnixStream::connect(home.socket()).context("connect")?;
    stream.set_read_timeout(Some(PATIENCE)).context("set a timeout")?;
    let head = format!("GET {target} HTTP/1.1\r\nHost: seawall\r\n\r\n");
    let sent = rng.random_range(1..=head.len());
    stream.write_all(head.as_bytes().get(..sent).unwrap_or_default()).context("ask")?;
    if sent == head.len() {
        let mut some = vec![0; rng.random_range(1..64)];
        stream.read_exact(&mut some).context("read the beginning of the answer")?;
    }
    Ok(())
}

/// A subscriber that reads an event now and then.
struct Subscriber {
    lines: BufReader<UnixStream>,
}

impl Subscriber {
    fn open(home: &Home, target: &str) -> Result<Self> {
        Ok(Self { lines: BufReader::with_capacity(256, http::open(&home.socket(), target)?) })
    }

    /// Reads slowly, and gives how many events there were. Each follows on the one before, or it was told how many are
    /// missing.
    fn read(mut self, until: Instant) -> Result<u64> {
        let (mut last, mut missed, mut read) = (None, 0, 0);
        let (mut kind, mut line) = (String::new(), String::new());
        while Instant::now() < until {
            line.clear();
            if self.lines.read_line(&mut line).context("read events")? == 0 {
                bail!("the stream of events ended");
            }
            let field = line.trim_end().split_once(": ");
            match field {
                Some(("event", word)) => word.clone_into(&mut kind),
                Some(("data", data)) if kind == "missed" => {
                    let data: Value = serde_json::from_str(data).context("understand what was missed")?;
                    missed += data.get("missed").and_then(Value::as_u64).context("how many were missed")?;
                }
                Some(("data", data)) => {
                    let event: Value = serde_json::from_str(data).context("understand an event")?;
                    let id = event.get("id").and_then(Value::as_u64).context("the id of an event")?;
                    ensure!(
                        last.is_none_or(|last: u64| id == last + missed + 1),
                        "event {id} came after {last:?}, and {missed} were said to be missing"
                    );
                    (last, missed, read) = (Some(id), 0, read + 1);
                    std::thread::sleep(SLOW);
                }
                _ => {}
            }
        }
        Ok(read)
    }
}
