//! The one connection that writes, and who may use it.
//!
//! In come batches; out go answers, and events to subscribers in the order of commits. A caller who finds that nobody
//! writes and nobody waits writes himself, in the thread he is in: what one caller waits for is his commit and no change
//! of threads. Whoever comes meanwhile queues, and a task commits all that is queued as one transaction, so that callers
//! share the price of one fsync; one that is refused fails alone. The task ends when the store is closed or dropped, after
//! it has written what was queued, and takes the connection with it.
//!
//! ```text
//!   BEGIN IMMEDIATE
//!     write...                                          (one after the other, as long as none is refused)
//!   COMMIT --ok--> show state maps, publish events, answer
//!          `-err-> ROLLBACK, every caller gets the error; the next group is tried as if nothing had been
//!
//!   one was refused (name taken, no such session, ...): ROLLBACK, and the group anew
//!   BEGIN IMMEDIATE
//!     SAVEPOINT batch; write...; RELEASE batch          (good)
//!     SAVEPOINT batch; write...; ROLLBACK TO; RELEASE   (refused)
//!   COMMIT
//! ```
//!
//! Some errors, such as a full disk, end the whole transaction in the middle. Then each batch is tried again in a
//! transaction of its own, so that the one that does not fit does not take the others with it. After a failed COMMIT
//! nothing is tried again: the caller must hear of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
use rusqlite::{Connection, OptionalExtension as _};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Mutex, OwnedMutexGuard, broadcast, mpsc, oneshot};
use tokio::task::{block_in_place, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::journal::{self, int};
use crate::lock::Lock;
use crate::pruning::Pruning;
use crate::rows::{Row, SessionRow};
use crate::schema::Database;
use crate::state::{Checked, Commit};
use crate::{Error, Event, StateError, once, schema, tokens};

/// Batches that may wait; more callers wait to queue.
const QUEUE: usize = 1024;
/// Batches in one transaction.
const GROUP: usize = 256;

/// The lock is taken at once, not with the first write.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// What one caller wants written, whole or not at all.
#[derive(Debug)]
pub(crate) enum Work {
    Rows(Vec<Row>),
    State(Commit),
    /// Nothing is written: the journal is pruned.
    Prune,
}

#[derive(Debug)]
pub(crate) struct Job {
    work: Work,
    answer: oneshot::Sender<Result<(), Refusal>>,
}

/// Why nothing of a batch was written.
#[derive(Debug)]
enum Refusal {
    Store(Error),
    /// Only of a commit on a state map.
    State(StateError),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Where the writer is: with nobody, with whoever holds the lock, or no more.
type Seat = Arc<Mutex<Option<Writer>>>;

/// The way to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Submit {
    jobs: mpsc::Sender<Job>,
    seat: Seat,
}

impl Submit {
    /// Also gives the task that writes what is queued, until `closing`.
    pub(crate) fn new(writer: Writer, closing: CancellationToken) -> (Self, impl Future<Output = ()> + use<>) {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let seat = Arc::new(Mutex::new(Some(writer)));
        (Self { jobs: sender, seat: Arc::clone(&seat) }, run(seat, jobs, closing))
    }

    /// Batches that wait for the writer.
    pub(crate) fn queued(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Whether there is a writer.
    pub(crate) fn is_open(&self) -> bool {
        !self.jobs.is_closed()
    }

    /// Has the writer prune. If its queue is full, it prunes anyway before long.
    pub(crate) fn prune(&self) {
        // Nobody waits for the answer.
        let (answer, _) = oneshot::channel();
        drop(self.jobs.try_send(Job { work: Work::Prune, answer }));
    }

    /// Waits until the rows are durable or have failed. A caller that goes away after they were queued leaves them
    /// queued.
    pub(crate) async fn write(&self, rows: Vec<Row>) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let job = Job { work: Work::Rows(rows), answer };
        match self.at_leisure() {
            Some(mut writer) => {
                block_in_place(|| attempt(&mut writer, |writer| writer.write(vec![job])));
                if writer.as_ref().is_some_and(|writer| writer.pruning.is_due()) {
                    self.prune();
                }
            }
            None => self.queue(job).await?,
        }
        self::answer(answered).await.map_err(|refusal| match refusal {
            Refusal::Store(error) => error,
            Refusal::State(error) => Error::Database(error.to_string().into()),
        })
    }

    /// The same with a commit on a state map. It is a plugin's, whose call can be given up while it waits: it is always
    /// queued.
    pub(crate) async fn commit(&self, commit: Commit) -> Result<(), StateError> {
        let (answer, answered) = oneshot::channel();
        let queued = self.queue(Job { work: Work::State(commit), answer }).await;
        queued.map_err(|error| StateError::Unavailable(error.to_string()))?;
        self::answer(answered).await.map_err(|refusal| match refusal {
            Refusal::Store(error) => StateError::Unavailable(error.to_string()),
            Refusal::State(error) => error,
        })
    }

    async fn queue(&self, job: Job) -> Result<(), Error> {
        self.jobs.send(job).await.map_err(|_| Error::Closed)
    }

    /// The writer, if nobody writes or waits to, and if this thread may block.
    fn at_leisure(&self) -> Option<OwnedMutexGuard<Option<Writer>>> {
        if self.queued() > 0 || !may_block() {
            return None;
        }
        Arc::clone(&self.seat).try_lock_owned().ok().filter(|seat| seat.is_some())
    }
}

async fn answer(answered: oneshot::Receiver<Result<(), Refusal>>) -> Result<(), Refusal> {
    // Nobody answers if the writer panicked, or if the runtime ends.
    answered.await.unwrap_or_else(|_| Err(Error::Database("the writer was cut off".into()).into()))
}

/// Whether other tasks go on while this one blocks its thread.
fn may_block() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Writes what is queued, until `closing` and all of it is written.
async fn run(seat: Seat, mut jobs: mpsc::Receiver<Job>, closing: CancellationToken) {
    let mut group = Vec::new();
    loop {
        // All arms are cancel-safe: nothing is taken from the queue by a `recv_many` that did not finish.
        let taken = tokio::select! {
            biased;
            () = closing.cancelled(), if !jobs.is_closed() => {
                jobs.close();
                continue;
            }
            taken = jobs.recv_many(&mut group, GROUP) => taken,
        };
        if taken == 0 {
            break;
        }
        let mut writer = Arc::clone(&seat).lock_owned().await;
        // More may have come while somebody wrote.
        while group.len() < GROUP
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        let group = std::mem::take(&mut group);
        let asked = group.iter().any(|job| matches!(job.work, Work::Prune));
        let write = move || {
            attempt(&mut writer, |writer| {
                writer.write(group);
                if asked || writer.pruning.is_due() {
                    writer.prune();
                }
            });
        };
        match may_block() {
            true => block_in_place(write),
            // It fails if the runtime ends. Then who waits for an answer hears of it.
            false => drop(spawn_blocking(write).await),
        }
    }
    if let Some(writer) = seat.lock().await.take() {
        schema::close(writer.connection).await;
    }
}

/// Has the writer work. After a panic, who waits for an answer hears that it was cut off.
fn attempt(writer: &mut Option<Writer>, work: impl FnOnce(&mut Writer)) {
    let Some(writer) = writer else { return };
    if catch_unwind(AssertUnwindSafe(|| work(writer))).is_err() {
        tracing::error!("a write was cut off; the database is opened anew");
        writer.connection = None;
        writer.pruning = Pruning::new(writer.database.config().journal);
    }
}

/// What is counted, for [`Store::stats`](crate::Store::stats) and [`Store::last_event`](crate::Store::last_event).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) failed_commits: AtomicU64,
    pub(crate) last_event: AtomicU64,
}

/// What writes, in one thread at a time.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) database: Database,
    /// `None` after an error that only a new connection mends.
    pub(crate) connection: Option<Connection>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) pruning: Pruning,
    /// Held until the last write is done.
    pub(crate) _lock: Arc<Lock>,
}

impl Writer {
    /// Commits a group and answers everybody in it.
    fn write(&mut self, group: Vec<Job>) {
        let mut added = 0;
        let mut outcome = self.commit(&group, Guard::None);
        if group.len() > 1 && matches!(outcome, Err(Failure::Before(_))) {
            // Somebody was refused, or the transaction was lost before its end: find out whose fault it was.
            outcome = self.commit(&group, Guard::Each);
        }
        match outcome {
            Ok(outcomes) => added += self.settle(group, outcomes),
            Err(Failure::InCommit(error)) => refuse(group, &error),
            Err(Failure::Before(error)) if group.len() == 1 => refuse(group, &error),
            Err(Failure::Before(_)) => {
                for job in group {
                    let alone = vec![job];
                    match self.commit(&alone, Guard::None) {
                        Ok(outcomes) => added += self.settle(alone, outcomes),
                        Err(Failure::InCommit(error) | Failure::Before(error)) => refuse(alone, &error),
                    }
                }
            }
        }
        self.pruning.count(added);
    }

    fn prune(&mut self) {
        if let Some(connection) = &self.connection
            && let Err(error) = self.pruning.prune(connection)
        {
            tracing::warn!(%error, "old events could not be pruned; this is tried again");
        }
    }

    /// Shows and publishes what was committed, and answers. Gives the number of events.
    fn settle(&self, group: Vec<Job>, outcomes: Vec<Result<Vec<Event>, Refusal>>) -> u64 {
        let mut added = 0;
        for (job, outcome) in group.into_iter().zip(outcomes) {
            let answer = outcome.map(|events| {
                if let Work::State(commit) = &job.work {
                    commit.show();
                }
                for event in events {
                    added += 1;
                    self.counters.last_event.store(event.id, Ordering::Release);
                    // Nobody may be listening.
                    drop(self.events.send(Arc::new(event)));
                }
            });
            // The caller may be gone.
            drop(job.answer.send(answer));
        }
        added
    }

    /// One transaction. Gives for each job what became of it.
    fn commit(&mut self, group: &[Job], guard: Guard) -> Result<Vec<Result<Vec<Event>, Refusal>>, Failure> {
        // Whatever an earlier transaction staged, and lost.
        for job in group {
            if let Work::State(commit) = &job.work {
                commit.unstage();
            }
        }
        let counters = Arc::clone(&self.counters);
        let connection = match self.begin() {
            Ok(connection) => connection,
            Err(error) => return Err(Failure::Before(error.into())),
        };
        let mut last = counters.last_event.load(Ordering::Acquire);
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group {
            let outcome = match guard {
                Guard::Each => guarded(&job.work, last, connection),
                Guard::None => match batch(&job.work, last, connection) {
                    Err(Refusal::Store(error)) => Err(error),
                    outcome => Ok(outcome),
                },
            };
            match outcome {
                Ok(outcome) => {
                    last += outcome.as_ref().map_or(0, Vec::len) as u64;
                    outcomes.push(outcome);
                }
                Err(error) => {
                    abandon(connection);
                    return Err(Failure::Before(error));
                }
            }
        }
        if let Err(error) = execute("COMMIT", connection) {
            abandon(connection);
            counters.failed_commits.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::InCommit(error.into()));
        }
        counters.commits.fetch_add(1, Ordering::Relaxed);
        counters.batches.fetch_add(group.len() as u64, Ordering::Relaxed);
        Ok(outcomes)
    }

    /// Begins a transaction; on a new connection if the old one cannot.
    fn begin(&mut self) -> Result<&Connection, rusqlite::Error> {
        if let Some(connection) = self.connection.take() {
            match execute(BEGIN, &connection) {
                Ok(()) => return Ok(self.connection.insert(connection)),
                Err(error) => {
                    tracing::warn!(%error, "the database is opened anew");
                    drop(connection);
                }
            }
        }
        let connection = self.database.writer()?;
        execute(BEGIN, &connection)?;
        // What SQLite said was not written, and a disk that fails has written after all.
        self.counters.last_event.fetch_max(journal::last(&connection)?, Ordering::AcqRel);
        Ok(self.connection.insert(connection))
    }
}

/// What keeps a batch that fails from taking the others with it.
#[derive(Clone, Copy)]
enum Guard {
    /// Nothing: nearly every batch is good, and a savepoint costs as much as a write.
    None,
    /// A savepoint.
    Each,
}

/// Where a transaction was lost.
enum Failure {
    /// Nothing of it can be on the disk.
    Before(Error),
    /// SQLite says it is not; a disk that fails may say otherwise after a crash.
    InCommit(Error),
}

fn refuse(group: Vec<Job>, error: &Error) {
    for job in group {
        drop(job.answer.send(Err(error.clone().into())));
    }
}

/// Ends a transaction that SQLite may have ended by itself, so that an error here says nothing.
fn abandon(connection: &Connection) {
    drop(execute("ROLLBACK", connection));
}

/// Runs a statement without parameters.
fn execute(statement: &str, connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(statement)?.execute(()).map(drop)
}

/// One caller's batch, within its savepoint. The outer error is the transaction's, the inner one the batch's.
fn guarded(work: &Work, last: u64, connection: &Connection) -> Result<Result<Vec<Event>, Refusal>, Error> {
    execute("SAVEPOINT batch", connection)?;
    let outcome = batch(work, last, connection);
    if outcome.is_err() {
        let undone = execute("ROLLBACK TO batch", connection);
        if let (Err(_), Err(Refusal::Store(cause))) = (undone, &outcome) {
            // The savepoint is gone, and with it the transaction.
            return Err(cause.clone());
        }
    }
    execute("RELEASE batch", connection)?;
    Ok(outcome)
}

/// One caller's batch; `last` is the id of the newest event before it. A commit on a state map that is refused has written
/// nothing.
fn batch(work: &Work, last: u64, connection: &Connection) -> Result<Vec<Event>, Refusal> {
    match work {
        Work::Rows(rows) => Ok(write_rows(rows, last, connection)?),
        Work::State(commit) => {
            let totals = commit.check().map_err(Refusal::State)?;
            write_state(commit, totals.version, connection).map_err(Error::from)?;
            commit.stage(totals);
            Ok(Vec::new())
        }
        Work::Prune => Ok(Vec::new()),
    }
}

fn write_rows(rows: &[Row], last: u64, connection: &Connection) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    for row in rows {
        match row {
            Row::InsertSession(session) => drop(write_session(INSERT, session, connection)?),
            Row::UpdateSession(session) => {
                if write_session(UPDATE, session, connection)? == 0 && write_session(RENAME, session, connection)? == 0
                {
                    return Err(Error::NoSuchSession(session.id.clone()));
                }
            }
            Row::DeleteSession(id) => {
                connection.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([id.as_str()])?;
            }
            Row::Intent { session, intent } => {
                let mut write = connection.prepare_cached("UPDATE sessions SET intent = ?1 WHERE id = ?2")?;
                if write.execute((intent, session.as_str()))? == 0 && intent.is_some() {
                    return Err(Error::NoSuchSession(session.clone()));
                }
            }
            Row::PutOnce(once) => once::put(once, connection)?,
            Row::ForgetOnce(key) => once::forget(key, connection)?,
            Row::PutToken(token) => tokens::put(token, connection)?,
            Row::UseToken { id, at } => tokens::used(id, *at, connection)?,
            Row::DeleteToken(id) => tokens::delete(id, connection)?,
            Row::Event(event) => {
                let id = last + events.len() as u64 + 1;
                events.push(journal::add(event, id, connection)?);
            }
        }
    }
    Ok(events)
}

const INSERT: &str = "INSERT INTO sessions (id, name, backend, spec, status, handle, intent) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?8)";
/// Of a session that has its name already: the index of names stays as it is.
const UPDATE: &str = "UPDATE sessions SET backend = ?3, spec = ?4, status = ?5, handle = ?6, \
                      intent = iif(?7, ?8, intent) WHERE id = ?1 AND name = ?2";
const RENAME: &str = "UPDATE sessions SET name = ?2, backend = ?3, spec = ?4, status = ?5, handle = ?6, \
                      intent = iif(?7, ?8, intent) WHERE id = ?1";

/// Runs one of these. Gives the number of rows.
fn write_session(statement: &str, session: &SessionRow, connection: &Connection) -> Result<usize, Error> {
    let SessionRow { id, name, backend, spec, status, handle, intent } = session;
    let mut write = connection.prepare_cached(statement)?;
    let (changes, intent) = (intent.is_some(), intent.as_ref().and_then(Option::as_ref));
    let done = write.execute((id.as_str(), name.as_str(), backend.as_str(), spec, status, handle, changes, intent));
    match done {
        Ok(rows) => Ok(rows),
        Err(error) if matches!(violated(&error), Some(SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY)) => {
            let mut holder = connection.prepare_cached("SELECT id FROM sessions WHERE name = ?1 AND id <> ?2")?;
            let holder = holder.query_row((name.as_str(), id.as_str()), |row| row.get::<_, String>(0)).optional()?;
            Err(match holder.map(|id| id.parse()) {
                None => Error::IdTaken(id.clone()),
                Some(Ok(by)) => Error::NameTaken { name: name.clone(), by },
                Some(Err(error)) => {
                    Error::BadRecord { what: format!("session with the name {name}"), why: error.to_string() }
                }
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Which constraint does not hold: an extended result code.
fn violated(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

fn write_state(commit: &Commit, version: u64, connection: &Connection) -> Result<(), rusqlite::Error> {
    let backend = commit.backend().as_str();
    for Checked { key, value, .. } in commit.changes() {
        match value {
            Some(value) => {
                let mut put = connection.prepare_cached(
                    "INSERT INTO state (backend, key, value, version) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT DO UPDATE SET value = ?3, version = ?4",
                )?;
                put.execute((backend, key, value, int(version)))?;
            }
            None => {
                let mut delete = connection.prepare_cached("DELETE FROM state WHERE backend = ?1 AND key = ?2")?;
                delete.execute((backend, key))?;
            }
        }
    }
    let mut put = connection.prepare_cached(
        "INSERT INTO state_version (backend, version) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET version = ?2",
    )?;
    put.execute((backend, int(version))).map(drop)
}
