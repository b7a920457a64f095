//! What Seawall keeps: sessions, open intents, the journal of events, and the small maps of the backends, in one SQLite
//! database in the data directory.
//!
//! ```text
//!   write(), StateMap::commit()                       load(), events()
//!            |  bounded queue                                |
//!            v                                               v
//!     writer (one task, one connection)              reader (one connection)
//!       takes all that is queued, one transaction,
//!       a savepoint for each caller's batch,
//!       one fsync, then: memory of the maps, subscribers, answers
//!            |                                               |
//!            `------------> seawall.db (WAL) <---------------'
//! ```
//!
//! - What [`Store::write`] returned `Ok` for is on the disk. Callers that write at the same time share one fsync.
//! - One data directory has one owner: a lock, taken before anything else is touched and held until the last write is
//!   done.
//! - The disk is touched on blocking threads only, and the one timer is that of pruning: under a paused clock, time stands
//!   still while the store works.
//! - Nothing is guessed: a newer schema, a damaged file or a row that cannot be read is an error that says so, and
//!   nothing is dropped or begun anew in silence.

mod config;
mod error;
mod filter;
mod journal;
mod lock;
mod once;
mod pruning;
mod reader;
mod record;
mod rows;
mod schema;
mod state;
mod store;
mod tokens;
mod writer;

pub use config::{JournalConfig, StateQuota, StoreConfig};
pub use error::{Error, OpenError};
pub use filter::EventFilter;
pub use journal::EventPage;
pub use once::Once;
pub use record::{Act, Event, Intent, SessionRecord, Write};
pub use state::{Change, Entry, Expectation, StateError, StateMap, Versioned};
pub use store::{Snapshot, Stats, Store};
pub use tokens::{Scope, Token};
