//! The API on its socket, beside the same server with empty handlers, and beside SQLite commits on the same disk: bare, and
//! by a handler of that server.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rusqlite::Connection;
use seawall::empty::First;
use seawall_testing::daemon::Home;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::crowd::{Client, part, quiet, until_running};
use crate::measure::{Report, Times};

const SESSIONS: usize = if cfg!(debug_assertions) { 100 } else { 1_000 };
const LISTS: usize = 500;
const CREATES: usize = 500;
/// Clients that create at one time, and how often each does.
const CLIENTS: usize = 16;
const EACH: usize = 100;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let (home, daemon) = quiet(SESSIONS)?;

    let (_, list) = Client::new(&home.socket())?.send("GET", "/v1/sessions", "")?;
    let (_, created) = Client::new(&home.socket())?.send("POST", "/v1/sessions", &spec())?;
    let (list, created): (Bytes, Bytes) = (list.into(), created.into());
    let empty = Empty::serve(home.dir().join("empty.sock"), list.clone(), created.clone(), None)?;
    lists(report, &home, &empty).context("lists")?;

    let commits = Handled::open(home.dir(), created.len())?;
    let socket = home.dir().join("commit.sock");
    let committing = Empty::serve(socket, list, created.clone(), Some(commits.handler()))?;
    creates(report, &home, &empty, &committing, created.len()).context("creations, one after the other")?;
    crowds(report, &home, &empty, created.len()).context("creations at one time")?;
    empty.end();
    committing.end();
    commits.end()?;
    daemon.terminate()?;
    Ok(())
}

fn spec() -> String {
    json!({"backend": "mock"}).to_string()
}

fn lists(report: &mut Report, home: &Home, empty: &Empty) -> Result<()> {
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    let (mut daemon, mut nothing) = (Client::new(&home.socket())?, Client::new(&empty.socket)?);
    let list = |client: &mut Client, times: &mut Times| -> Result<usize> {
        let began = Instant::now();
        let (status, body) = client.send("GET", "/v1/sessions", "")?;
        times.push(began.elapsed());
        ensure!(status == 200, "GET /v1/sessions: {status}");
        Ok(body.len())
    };
    let mut bytes = 0;
    for _ in 0..LISTS {
        bytes = list(&mut daemon, &mut ours)?;
        list(&mut nothing, &mut theirs)?;
    }
    let what = format!("GET /v1/sessions of {SESSIONS} sessions");
    report.compare(&what, &ours, ("an empty handler, a body as large", &theirs), 3.0);
    note(report, &format!("{what}, {} KiB", bytes >> 10), &[("Seawall", &ours), ("empty", &theirs)]);
    Ok(())
}

/// One client. A session runs before the next is asked for, so that each commit is measured alone.
fn creates(report: &mut Report, home: &Home, empty: &Empty, committing: &Empty, length: usize) -> Result<()> {
    let database = Database::open(&home.dir().join("commits.db"), length)?;
    let (mut ours, mut theirs, mut commits, mut both) = <(Times, Times, Times, Times)>::default();
    let (mut daemon, mut nothing) = (Client::new(&home.socket())?, Client::new(&empty.socket)?);
    for _ in 0..CREATES {
        ours.push(create(&mut daemon)?);
        let (answered, _) = post(&mut nothing)?;
        let commit = database.commit()?;
        theirs.push(answered);
        commits.push(commit);
        both.push(answered + commit);
    }
    let what = "POST /v1/sessions on mock";
    report.compare(what, &ours, ("an empty handler and one durable SQLite commit", &both), 1.0);
    note(report, what, &[("Seawall", &ours), ("empty", &theirs), ("SQLite commit", &commits)]);

    let (mut ours, mut handled) = <(Times, Times)>::default();
    let mut handler = Client::new(&committing.socket)?;
    for _ in 0..CREATES {
        ours.push(create(&mut daemon)?);
        handled.push(post(&mut handler)?.0);
    }
    report.beside(what, &ours, ("a handler that commits, to a log that grows no more", &handled));
    Ok(())
}

/// Until it was answered; returns when the session runs.
fn create(daemon: &mut Client) -> Result<Duration> {
    let (took, made) = post(daemon)?;
    let id = part(&made, "/id").as_str().context("a session without an id")?;
    let (status, _) = daemon.send("GET", &format!("/v1/sessions/{id}/wait?for=running"), "")?;
    ensure!(status == 200, "the session {id} does not come to run");
    Ok(took)
}

/// Several clients at a time, who share commits.
fn crowds(report: &mut Report, home: &Home, empty: &Empty, length: usize) -> Result<()> {
    let (ours, slow) = crowd(&home.socket())?;
    let (theirs, idle) = crowd(&empty.socket)?;
    let database = Database::open(&home.dir().join("commits.db"), length)?;
    let mut commits = Times::default();
    for _ in 0..CREATES {
        commits.push(database.commit()?);
    }
    let what = format!("POST /v1/sessions on mock, {CLIENTS} clients");
    report.rate(&what, ours, ("durable SQLite commits, one after the other", commits.per_second()), 1.0);
    note(report, &what, &[("Seawall", &slow), ("empty", &idle)]);
    report.note(format!("{what}: {ours:.0} calls a second, {theirs:.0} of an empty handler"));
    until_running(home, SESSIONS + 1 + 2 * CREATES + CLIENTS * EACH)
}

/// Calls a second, and how long each took.
fn crowd(socket: &Path) -> Result<(f64, Times)> {
    let client = || -> Result<Vec<Duration>> {
        let mut client = Client::new(socket)?;
        (0..EACH).map(|_| Ok(post(&mut client)?.0)).collect()
    };
    let began = Instant::now();
    let all = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let joined = clients.into_iter().map(|client| match client.join() {
            Ok(times) => times,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect::<Result<Vec<_>>>()
    })?;
    let took = began.elapsed();
    let mut times = Times::default();
    all.into_iter().flatten().for_each(|time| times.push(time));
    let count = u32::try_from(times.count()).context("count calls")?;
    Ok((f64::from(count) / took.as_secs_f64(), times))
}

fn post(client: &mut Client) -> Result<(Duration, Value)> {
    let began = Instant::now();
    let (status, body) = client.send("POST", "/v1/sessions", &spec())?;
    let took = began.elapsed();
    ensure!(status == 201, "POST /v1/sessions: {status} {}", String::from_utf8_lossy(&body));
    Ok((took, serde_json::from_slice(&body).context("read the answer")?))
}

fn note(report: &mut Report, what: &str, all: &[(&str, &Times)]) {
    let each = |(name, times): &(&str, &Times)| {
        let ms = |percent| times.percentile(percent).as_secs_f64() * 1e3;
        format!("{name} {:.0} calls a second, median {:.3} ms, p99 {:.3} ms", times.per_second(), ms(50), ms(99))
    };
    report.note(format!("{what}, each client: {}", all.iter().map(each).collect::<Vec<_>>().join("; ")));
}

/// The same server with empty handlers, on as many threads as a daemon has.
struct Empty {
    socket: PathBuf,
    end: CancellationToken,
    threads: Runtime,
}

impl Empty {
    fn serve(socket: PathBuf, list: Bytes, created: Bytes, first: Option<First>) -> Result<Self> {
        let config = seawall_runtime::RuntimeConfig::default();
        let threads = config.executor().build().context("start tokio")?;
        let end = CancellationToken::new();
        let serving = {
            let (socket, end) = (socket.clone(), end.clone());
            async move { seawall::empty::serve(&socket, list, created, first, end).await }
        };
        let mut serving = threads.spawn(serving);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if serving.is_finished() {
                let ended = threads.block_on(&mut serving).context("serve")?;
                ended.map_err(|error| anyhow::anyhow!("the empty server ended: {error}"))?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { socket, end, threads })
    }

    fn end(self) {
        self.end.cancel();
        self.threads.shutdown_timeout(Duration::from_secs(10));
    }
}

/// A database as durable as Seawall's, with nothing in between.
struct Database {
    connection: Connection,
    value: Vec<u8>,
}

impl Database {
    /// One whose commits write a row of so many bytes.
    fn open(path: &Path, length: usize) -> Result<Self> {
        let connection = Connection::open(path).context("make a database")?;
        let table = "CREATE TABLE IF NOT EXISTS commits (id INTEGER PRIMARY KEY, value BLOB NOT NULL)";
        let setup = format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {table}");
        connection.execute_batch(&setup).context("make a table")?;
        Ok(Self { connection, value: vec![b'x'; length] })
    }

    fn commit(&self) -> Result<Duration> {
        let began = Instant::now();
        let mut insert =
            self.connection.prepare_cached("INSERT INTO commits (value) VALUES (?1)").context("prepare")?;
        insert.execute([&self.value]).context("commit")?;
        Ok(began.elapsed())
    }
}

/// The same for a handler. Its log is as long as it gets, as a daemon's soon is: what is written over costs less than what
/// grows.
struct Handled(Arc<Mutex<(Database, Result<()>)>>);

impl Handled {
    fn open(dir: &Path, length: usize) -> Result<Self> {
        let database = Database::open(&dir.join("handled.db"), length)?;
        let pages: u32 = database.connection.query_row("PRAGMA wal_autocheckpoint", (), |row| row.get(0))?;
        (0..=pages).try_for_each(|_| database.commit().map(drop))?;
        Ok(Self(Arc::new(Mutex::new((database, Ok(()))))))
    }

    fn handler(&self) -> First {
        let shared = Arc::clone(&self.0);
        Arc::new(move || {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = shared.0.commit() {
                shared.1 = Err(error);
            }
        })
    }

    /// Whether all of them were made.
    fn end(self) -> Result<()> {
        std::mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).1, Ok(()))
    }
}
