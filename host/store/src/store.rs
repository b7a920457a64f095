//! The handle that the rest of Seawall holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _};
use seawall_model::{BackendName, StoreId, Timestamp};
use tokio::sync::{Mutex, broadcast};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::journal::{self, EventPage};
use crate::lock::Lock;
use crate::pruning::Pruning;
use crate::reader::Reader;
use crate::schema::Database;
use crate::state::{Shared, Versioned};
use crate::writer::{Counters, Submit, Writer};
use crate::{
    Error, Event, EventFilter, Intent, Once, OpenError, SessionRecord, StateMap, StateQuota, StoreConfig, Token, Write,
    once, rows, tokens,
};

/// Events that a subscriber may be behind before it misses some.
const BROADCAST: usize = 1024;

/// The store of one data directory. Clones share it.
///
/// [`close`](Self::close) it before the program ends. A store that is merely dropped still writes what was queued, as
/// long as the runtime lives, and gives the lock up afterwards.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    id: StoreId,
    submit: Submit,
    reader: Reader,
    states: Mutex<BTreeMap<BackendName, Arc<Shared>>>,
    /// Weak, so that subscriptions end with the writer.
    events: broadcast::WeakSender<Arc<Event>>,
    counters: Arc<Counters>,
    closing: CancellationToken,
    tasks: TaskTracker,
    lock: SyncMutex<Option<Arc<Lock>>>,
}

/// What the control loop begins with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Every session, oldest first.
    pub sessions: Vec<SessionRecord>,
    /// What was about to be done and is not known to have come to its end; at most one for each session.
    pub intents: Vec<Intent>,
}

/// Counts since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches of callers that were in a successful commit, refused ones included.
    pub batches: u64,
    /// Transactions committed, each with one fsync.
    pub commits: u64,
    /// Commits that failed.
    pub failed_commits: u64,
    /// Batches that wait for the writer now. Callers that wait to queue theirs are not counted.
    pub queued: usize,
    /// Whether writes are still taken: neither was it closed, nor did what writes end in any other way.
    pub open: bool,
}

impl Store {
    /// Opens the store in `dir` with default bounds. See [`open_with`](Self::open_with).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(dir, StoreConfig::default()).await
    }

    /// Opens the store in `dir`, and makes the directory, the database and the store's id if there are none. Takes the
    /// directory's lock until the store is closed. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`OpenError`]: the directory is in use or not to be trusted, the database is newer, foreign, damaged, not
    /// writable, or there is no space.
    pub async fn open_with(dir: &Path, config: StoreConfig) -> Result<Self, OpenError> {
        let path = dir.to_owned();
        let database = Database::new(dir, config);
        let opening = {
            let database = database.clone();
            spawn_blocking(move || {
                let lock = Lock::take(&path)?;
                let (connection, id, last) = database.open(&lock)?;
                Ok::<_, OpenError>((lock, connection, id, last))
            })
        };
        let (lock, connection, id, last) = opening
            .await
            .map_err(|error| OpenError::Io { path: dir.to_owned(), why: format!("it was cut off: {error}") })??;

        let lock = Arc::new(lock);
        let counters = Arc::new(Counters::default());
        counters.last_event.store(last, Ordering::Release);
        let (events, _) = broadcast::channel(BROADCAST);
        let closing = CancellationToken::new();
        let (weak, pruning) = (events.downgrade(), Pruning::new(config.journal));
        let writer = Writer {
            database: database.clone(),
            connection: Some(connection),
            events,
            counters: Arc::clone(&counters),
            pruning,
            _lock: Arc::clone(&lock),
        };
        let (submit, writing) = Submit::new(writer, closing.clone());
        let tasks = TaskTracker::new();
        let inner = Inner {
            directory: dir.to_owned(),
            id,
            submit,
            reader: Reader::new(database, closing.clone()),
            states: Mutex::default(),
            events: weak,
            counters,
            closing,
            tasks: tasks.clone(),
            lock: SyncMutex::new(Some(lock)),
        };
        tasks.spawn(writing);
        Ok(Self(Arc::new(inner)))
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Born with the data directory.
    pub fn id(&self) -> &StoreId {
        &self.0.id
    }

    /// Everything that is stored of sessions.
    ///
    /// # Errors
    /// [`Error::BadRecord`] if any of it cannot be read: then nothing is given, since a session left out would be taken
    /// for an orphan.
    pub async fn load(&self) -> Result<Snapshot, Error> {
        self.0.reader.read(rows::snapshot).await
    }

    /// All of the writes, in this order, or none. They are on the disk when this returns `Ok`, and the events among them
    /// were published. If the caller goes away in the middle, they may still be written.
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::IdTaken`] and [`Error::NoSuchSession`] concern this call alone.
    /// [`Error::Full`] and [`Error::Database`] may concern all that were to be committed together.
    pub async fn write(&self, writes: Vec<Write>) -> Result<(), Error> {
        let rows = rows::encode_all(writes)?;
        if rows.is_empty() {
            return Ok(());
        }
        self.0.submit.write(rows).await
    }

    /// Has events that are too old removed from the journal, and does not wait for it. Writes do the same once an hour:
    /// this is for when there are none.
    pub fn prune(&self) {
        self.0.submit.prune();
    }

    /// Events from now on, in the order of commits, each published once it is durable. A subscriber that is more than
    /// 1024 events behind is told how many it missed; [`events`](Self::events) has them. Ends when the store is closed.
    ///
    /// To read on without a gap: subscribe, read the journal, then skip what was read from the subscription by its id.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        match self.0.events.upgrade() {
            Some(events) => events.subscribe(),
            // A channel without a sender: it says that it is closed.
            None => broadcast::channel(1).1,
        }
    }

    /// The journal, oldest first: up to `limit` events (at most 10,000) whose id is larger than `after`; `None` begins
    /// with the oldest that is kept.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn events(&self, after: Option<u64>, limit: usize) -> Result<Vec<Event>, Error> {
        let after = after.unwrap_or(0);
        Ok(self.event_page(after, limit, EventFilter::default()).await?.events)
    }

    /// A page of the journal: up to `limit` events whose id is larger than `after` and that are meant. A page that looked
    /// at very many events ends with those it found.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn event_page(&self, after: u64, limit: usize, filter: EventFilter) -> Result<EventPage, Error> {
        self.0.reader.read(move |connection| journal::page(after, limit, &filter, connection)).await
    }

    /// Where to begin to read for the last `count` events that are meant: the id before them.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn before_last_events(&self, count: usize, filter: EventFilter) -> Result<u64, Error> {
        self.0.reader.read(move |connection| journal::before_last(count, &filter, connection)).await
    }

    /// The id of the newest event that was published; 0 if there never was one.
    pub fn last_event(&self) -> u64 {
        self.0.counters.last_event.load(Ordering::Acquire)
    }

    /// The map of one backend, read into memory the first time. Every handle of one backend shows the same map; the
    /// quota is the handle's own.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn state(&self, backend: &BackendName, quota: StateQuota) -> Result<StateMap, Error> {
        let mut states = self.0.states.lock().await;
        let shared = match states.get(backend) {
            Some(shared) => Arc::clone(shared),
            None => {
                let name = backend.clone();
                let shared = self.0.reader.read(move |connection| load_state(name, connection)).await?;
                let shared = Arc::new(shared);
                states.insert(backend.clone(), Arc::clone(&shared));
                shared
            }
        };
        Ok(StateMap::new(shared, self.0.submit.clone(), quota))
    }

    /// What was made for an idempotency key in the last day.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn once(&self, key: &str, now: Timestamp) -> Result<Option<Once>, Error> {
        let key = key.to_owned();
        self.0.reader.read(move |connection| once::get(&key, now, connection)).await
    }

    /// Every token, oldest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.0.reader.read(tokens::all).await
    }

    /// Counts since the store was opened.
    pub fn stats(&self) -> Stats {
        let counters = &self.0.counters;
        Stats {
            batches: counters.batches.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            failed_commits: counters.failed_commits.load(Ordering::Relaxed),
            queued: self.0.submit.queued(),
            open: self.0.submit.is_open() && !self.0.closing.is_cancelled(),
        }
    }

    /// Writes what was queued, ends the writer and every subscription, closes the database and gives up the lock. Calls
    /// that come later fail with [`Error::Closed`]. May be called twice, and by several at once.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.reader.close().await;
        self.0.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn load_state(backend: BackendName, connection: &Connection) -> Result<Shared, Error> {
    let mut values = connection.prepare_cached("SELECT key, value, version FROM state WHERE backend = ?1")?;
    let values = values.query_map([backend.as_str()], |row| {
        let version = row.get::<_, i64>("version")?.unsigned_abs();
        Ok((row.get("key")?, Versioned { value: row.get("value")?, version }))
    })?;
    let entries = values.collect::<Result<BTreeMap<_, _>, _>>()?;
    let mut version = connection.prepare_cached("SELECT version FROM state_version WHERE backend = ?1")?;
    let version: Option<i64> = version.query_row([backend.as_str()], |row| row.get(0)).optional()?;
    Ok(Shared::new(backend, entries, version.unwrap_or(0).unsigned_abs()))
}
