//! Connections, migrations, and the checks before a file is trusted to be Seawall's.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use seawall_model::{InvalidName, StoreId};
use tokio::task::spawn_blocking;

use crate::journal;
use crate::lock::{self, Lock};
use crate::{OpenError, StoreConfig};

/// In the order in which they are applied. A released migration is never edited.
const MIGRATIONS: [(i64, &str); 5] = [
    (1, include_str!("../migrations/0001_first.sql")),
    (2, include_str!("../migrations/0002_trace.sql")),
    (3, include_str!("../migrations/0003_requests.sql")),
    (4, include_str!("../migrations/0004_tokens.sql")),
    (5, include_str!("../migrations/0005_fewer_pages.sql")),
];
/// Where sqlx, with which the schema was brought up to date before, kept its version.
const EARLIER: &str = "_sqlx_migrations";
/// Set by the first migration: "Seaw".
const APPLICATION: i64 = 0x5365_6177;
/// How every SQLite database begins.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The smallest unit of the file; SQLite's default, and fixed for a file's life.
const PAGE: u64 = 4096;
/// Nobody else should ever hold SQLite's own locks; whoever looks with another tool may for a moment.
const BUSY: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this after it was larger.
const JOURNAL_SIZE: u32 = 16 << 20;
/// Statements that a connection keeps prepared: more than there are.
const STATEMENTS: usize = 64;

/// Where the database is and how to connect to it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    path: PathBuf,
    config: StoreConfig,
}

impl Database {
    pub(crate) fn new(dir: &Path, config: StoreConfig) -> Self {
        Self { path: dir.join("seawall.db"), config }
    }

    pub(crate) fn config(&self) -> StoreConfig {
        self.config
    }

    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        // No mutex: a connection is in one thread at a time, and its type sees to that.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }

    /// The connection that writes: what it commits is on the disk.
    pub(crate) fn writer(&self) -> Result<Connection, rusqlite::Error> {
        let connection = self.connect()?;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = {JOURNAL_SIZE}"
        ))?;
        if let Some(bytes) = self.config.max_bytes {
            let pages = (bytes / PAGE).clamp(1, u64::from(u32::MAX - 1));
            connection.execute_batch(&format!("PRAGMA max_page_count = {pages}"))?;
        }
        Ok(connection)
    }

    /// A connection that cannot write.
    pub(crate) fn reader(&self) -> Result<Connection, rusqlite::Error> {
        let connection = self.connect()?;
        connection.execute_batch("PRAGMA query_only = ON")?;
        Ok(connection)
    }

    /// Checks the file, brings it to the newest schema, and gives the connection that writes, the store's id,
    /// and the newest event's.
    pub(crate) fn open(&self, lock: &Lock) -> Result<(Connection, StoreId, u64), OpenError> {
        self.inspect(lock)?;
        let (connection, id, last) =
            self.bring_up_to_date().map_err(|error| OpenError::from_sqlite(&self.path, &error))?;
        let id = id.parse().map_err(|error: InvalidName| self.damaged(error.to_string()))?;
        lock.sign(Some(&id))?;
        Ok((connection, id, last))
    }

    fn bring_up_to_date(&self) -> Result<(Connection, String, u64), rusqlite::Error> {
        let mut connection = self.writer()?;
        migrate(&mut connection)?;
        connection
            .execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('store', ?1)", [StoreId::random().as_str()])?;
        let id = connection.query_row("SELECT value FROM meta WHERE key = 'store'", (), |row| row.get(0))?;
        let last = journal::last(&connection)?;
        Ok((connection, id, last))
    }

    /// Looks at what is there without changing it.
    fn inspect(&self, lock: &Lock) -> Result<(), OpenError> {
        let in_file = |error: rusqlite::Error| OpenError::from_sqlite(&self.path, &error);
        let io = |error: io::Error| OpenError::from_io(&self.path, &error);
        // Made here, so that SQLite does not make it readable for others. Its companions take over the mode.
        let mut file = lock::private(&self.path).map_err(io)?;
        let mut head = Vec::new();
        file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut head).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        drop(file);
        if head.is_empty() {
            return self.first_start(lock);
        }
        if head != MAGIC {
            return Err(self.damaged("it does not begin as a database does".to_owned()));
        }
        // SQLite reads what is missing of the last page as zeros. Only a crash while the log is copied may leave such a
        // file, and then the log is there to mend it.
        if length % PAGE != 0 && !self.path.with_extension("db-wal").exists() {
            return Err(self.damaged(format!("it is cut short: {length} bytes are no whole number of pages")));
        }
        let connection = self.connect().map_err(in_file)?;
        let found = self.judge(&connection, lock);
        connection.close().map_err(|(_, error)| in_file(error))?;
        found
    }

    fn judge(&self, connection: &Connection, lock: &Lock) -> Result<(), OpenError> {
        let in_file = |error: rusqlite::Error| OpenError::from_sqlite(&self.path, &error);
        let number = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, i64>(0)).map_err(in_file);
        let application = number("PRAGMA application_id")?;
        let tables = number("SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")?;
        if application != APPLICATION {
            if tables == 0 {
                return self.first_start(lock);
            }
            let why = format!("its application id is {application:#x}");
            return Err(OpenError::Foreign { path: self.path.clone(), why });
        }
        let found = version(connection).map_err(in_file)?;
        if found > newest() {
            return Err(OpenError::NewerSchema { path: self.path.clone(), found, known: newest() });
        }
        let health: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(in_file)?;
        if health != "ok" {
            return Err(self.damaged(health));
        }
        Ok(())
    }

    /// There is nothing in the database. Then there must never have been.
    fn first_start(&self, lock: &Lock) -> Result<(), OpenError> {
        match lock.store() {
            None => Ok(()),
            Some(store) => Err(self.damaged(format!("it is empty or was missing, and store {store} was here"))),
        }
    }

    fn damaged(&self, why: String) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), why }
    }
}

fn newest() -> i64 {
    MIGRATIONS.iter().map(|(version, _)| *version).max().unwrap_or(0)
}

/// The newest migration that was applied; 0 if none was.
fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    let number = |sql: &str| connection.query_row(sql, (), |row| row.get(0));
    match number("PRAGMA user_version")? {
        // Before it was kept there, it was in a table.
        0 if connection.table_exists(None, EARLIER)? => {
            number(&format!("SELECT coalesce(max(version), 0) FROM {EARLIER}"))
        }
        version => Ok(version),
    }
}

/// Brings the schema up to date, each step whole or not at all.
fn migrate(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let found = version(connection)?;
    if connection.table_exists(None, EARLIER)? {
        let step = connection.transaction()?;
        step.execute_batch(&format!("DROP TABLE {EARLIER}; PRAGMA user_version = {found}"))?;
        step.commit()?;
    }
    for (version, sql) in MIGRATIONS.into_iter().filter(|(version, _)| *version > found) {
        let step = connection.transaction()?;
        step.execute_batch(sql)?;
        step.pragma_update(None, "user_version", version)?;
        step.commit()?;
    }
    Ok(())
}

/// Closes a connection, if there is one. The last one copies the log into the database.
pub(crate) async fn close(connection: Option<Connection>) {
    let Some(connection) = connection else { return };
    let closed = spawn_blocking(move || connection.close().map_err(|(_, error)| error));
    match closed.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the database was not closed cleanly"),
        Err(error) => tracing::warn!(%error, "the database was not closed cleanly"),
    }
}
