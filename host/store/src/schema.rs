//! Connections, migrations, and the checks before a file is trusted to be Seawall's.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use seawall_model::{InvalidName, StoreId};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlSafeStr, SqliteConnection};

use crate::journal;
use crate::lock::{self, Lock};
use crate::{OpenError, StoreConfig};

/// In the order in which they are applied. A released migration is never edited.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "first", include_str!("../migrations/0001_first.sql")),
    (2, "trace", include_str!("../migrations/0002_trace.sql")),
    (3, "requests", include_str!("../migrations/0003_requests.sql")),
    (4, "tokens", include_str!("../migrations/0004_tokens.sql")),
];
/// Set by the first migration: "Seaw".
const APPLICATION: i64 = 0x5365_6177;
/// How every SQLite database begins.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The smallest unit of the file; SQLite's default, and fixed for a file's life.
const PAGE: u64 = 4096;
/// Nobody else should ever hold SQLite's own locks; whoever looks with another tool may for a moment.
const BUSY: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this after it was larger.
const JOURNAL_SIZE: &str = "16777216";

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

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .disable_statement_logging()
    }

    /// The connection that writes: what it commits is on the disk.
    pub(crate) async fn writer(&self) -> Result<SqliteConnection, sqlx::Error> {
        let options = self
            .options()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", JOURNAL_SIZE);
        let options = match self.config.max_bytes {
            Some(bytes) => {
                options.pragma("max_page_count", (bytes / PAGE).clamp(1, u64::from(u32::MAX - 1)).to_string())
            }
            None => options,
        };
        options.connect().await
    }

    /// A connection that cannot write.
    pub(crate) async fn reader(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.options().pragma("query_only", "ON").connect().await
    }

    /// Checks the file, brings it to the newest schema, and gives the connection that writes, the store's id,
    /// and the newest event's.
    pub(crate) async fn open(&self, lock: &Lock) -> Result<(SqliteConnection, StoreId, u64), OpenError> {
        self.inspect(lock).await?;
        let in_file = |error: sqlx::Error| OpenError::from_sqlite(&self.path, &error);
        let mut connection = self.writer().await.map_err(in_file)?;
        migrator()
            .run(&mut connection)
            .await
            .map_err(|error| OpenError::from_migration(&self.path, error, newest()))?;
        sqlx::query("INSERT OR IGNORE INTO meta (key, value) VALUES ('store', ?1)")
            .bind(StoreId::random().as_str())
            .execute(&mut connection)
            .await
            .map_err(in_file)?;
        let id: String = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'store'")
            .fetch_one(&mut connection)
            .await
            .map_err(in_file)?;
        let id = id.parse().map_err(|error: InvalidName| self.damaged(error.to_string()))?;
        let last = journal::last(&mut connection).await.map_err(in_file)?;
        lock.sign(Some(&id))?;
        Ok((connection, id, last))
    }

    /// Looks at what is there without changing it.
    async fn inspect(&self, lock: &Lock) -> Result<(), OpenError> {
        let in_file = |error: sqlx::Error| OpenError::from_sqlite(&self.path, &error);
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
        let mut connection = self.options().connect().await.map_err(in_file)?;
        let found = self.judge(&mut connection, lock).await;
        connection.close().await.map_err(in_file)?;
        found
    }

    async fn judge(&self, connection: &mut SqliteConnection, lock: &Lock) -> Result<(), OpenError> {
        let in_file = |error: sqlx::Error| OpenError::from_sqlite(&self.path, &error);
        let application: i64 =
            sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(in_file)?;
        // A first start may have been cut off after this table and before the first migration.
        let tables: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(in_file)?;
        if application != APPLICATION {
            if tables == 0 {
                return self.first_start(lock);
            }
            let why = format!("its application id is {application:#x}");
            return Err(OpenError::Foreign { path: self.path.clone(), why });
        }
        let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
            .fetch_one(&mut *connection)
            .await
            .map_err(in_file)?;
        if found > newest() {
            return Err(OpenError::NewerSchema { path: self.path.clone(), found, known: newest() });
        }
        let health: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(in_file)?;
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
    MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0)
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.into())
}
