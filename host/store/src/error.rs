//! What can go wrong, in words that say what to do.
//!
//! SQLite's errors end here: no other crate sees `rusqlite`. Every error can be cloned, since one failed commit fails every
//! caller that was in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seawall_model::{SessionId, SessionName};

/// Why a data directory could not be opened. Nothing in it was changed, except that what is missing may have been made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon holds the lock.
    #[error("the data directory {} is in use by process {}: stop that daemon, or choose another directory",
        dir.display(), pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string()))]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// Who holds it, where it can be said.
        pid: Option<u32>,
    },
    /// Somebody else could have written in it.
    #[error("the data directory {} cannot be trusted: {why}", dir.display())]
    Untrusted {
        /// The data directory.
        dir: PathBuf,
        /// What is wrong, and the command that mends it.
        why: String,
    },
    /// The database was written by a newer Seawall.
    #[error("the database {} has schema {found}, and this Seawall knows schemas up to {known}: run a newer Seawall",
        path.display())]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// What it has.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// A database, but not one of Seawall's.
    #[error("the database {} was not made by Seawall ({why}): choose another data directory", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
        /// How it can be told.
        why: String,
    },
    /// The file is no database, or a damaged one.
    #[error("the database {} is damaged ({why}): put a backup in its place, or move the data directory away to begin \
        with an empty one", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// It may be read, but not written.
    #[error("{} cannot be written ({why}): the data directory must belong to the user of the daemon, on a file \
        system that is not read-only", path.display())]
    ReadOnly {
        /// What cannot be written.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// No room.
    #[error("no space is left for {} ({why}): free some, then start again", path.display())]
    Full {
        /// What could not be written.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Anything else.
    #[error("could not use {}: {why}", path.display())]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
}

impl OpenError {
    pub(crate) fn from_io(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let (path, why) = (path.to_owned(), error.to_string());
        match error.kind() {
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Self::ReadOnly { path, why },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path, why },
            _ => Self::Io { path, why },
        }
    }

    pub(crate) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, why) = (path.to_owned(), error.to_string());
        match Fault::of(error) {
            Fault::ReadOnly => Self::ReadOnly { path, why },
            Fault::Full => Self::Full { path, why },
            Fault::Damaged => Self::Damaged { path, why },
            Fault::Other => Self::Io { path, why },
        }
    }
}

/// Why a call of the store failed. What the call asked for was not done, unless the variant says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Another session has this name.
    #[error("the name {name} is taken by session {by}")]
    NameTaken {
        /// The name.
        name: SessionName,
        /// Who has it.
        by: SessionId,
    },
    /// There is a session with this id.
    #[error("the session id {0} is taken")]
    IdTaken(SessionId),
    /// An update or an intent of a session that is not there.
    #[error("there is no session {0} in the store")]
    NoSuchSession(SessionId),
    /// A session was made for this key already.
    #[error("the key {0:?} is taken")]
    KeyTaken(String),
    /// A token has this name.
    #[error("there is a token with the name {0:?}")]
    TokenTaken(String),
    /// Something stored cannot be read back. It is left as it is.
    #[error("the stored {what} cannot be read: {why}")]
    BadRecord {
        /// Which record: `session 0123456789abcdef`.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something given cannot be stored.
    #[error("{what} cannot be stored: {why}")]
    Unstorable {
        /// What.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// No room on the disk, or the configured bound of the database is reached. Later writes are tried again.
    #[error("no space is left for the database: {0}")]
    Full(Arc<str>),
    /// SQLite failed in another way. Later calls are tried again. If the disk itself failed in the middle of a commit,
    /// the writes may be found after a crash.
    #[error("the database failed: {0}")]
    Database(Arc<str>),
    /// [`Store::close`](crate::Store::close) was called.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Whether the same call may succeed later without anybody having changed what it asks for.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Database(_))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let why = error.to_string().into();
        match Fault::of(&error) {
            Fault::Full => Self::Full(why),
            Fault::ReadOnly | Fault::Damaged | Fault::Other => Self::Database(why),
        }
    }
}

/// The kinds of SQLite errors that are told apart.
enum Fault {
    ReadOnly,
    Full,
    Damaged,
    Other,
}

impl Fault {
    /// By the primary result code, the lowest byte: <https://www.sqlite.org/rescode.html>.
    fn of(error: &rusqlite::Error) -> Self {
        match error.sqlite_error().map(|error| error.extended_code & 0xff) {
            // PERM, READONLY, CANTOPEN
            Some(3 | 8 | 14) => Self::ReadOnly,
            // FULL
            Some(13) => Self::Full,
            // CORRUPT, NOTADB
            Some(11 | 26) => Self::Damaged,
            _ => Self::Other,
        }
    }
}
