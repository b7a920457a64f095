//! The connection that reads.
//!
//! Reads take turns on one connection and run to their end on a blocking thread, even if the caller goes away: a
//! half-read connection cannot be left behind.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::schema::Database;
use crate::{Error, schema};

/// Reads from the database.
#[derive(Debug)]
pub(crate) struct Reader {
    database: Database,
    /// Opened by the first read, and again by the read after one that failed.
    connection: Arc<Mutex<Option<Connection>>>,
    closing: CancellationToken,
}

impl Reader {
    pub(crate) fn new(database: Database, closing: CancellationToken) -> Self {
        Self { database, connection: Arc::default(), closing }
    }

    /// Runs `work` on the connection, in one read transaction.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let mut slot = Arc::clone(&self.connection).lock_owned().await;
        if self.closing.is_cancelled() {
            return Err(Error::Closed);
        }
        let database = self.database.clone();
        let reading = spawn_blocking(move || {
            let mut connection = match slot.take() {
                Some(connection) => connection,
                None => database.reader()?,
            };
            let transaction = connection.transaction()?;
            let result = work(&transaction);
            transaction.rollback()?;
            *slot = Some(connection);
            result
        });
        reading.await.map_err(|error| Error::Database(format!("a read was cut off: {error}").into()))?
    }

    /// Waits for the read under way and closes the connection.
    pub(crate) async fn close(&self) {
        let connection = self.connection.lock().await.take();
        schema::close(connection).await;
    }
}
