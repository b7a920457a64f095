//! What the journal forgets, and when.
//!
//! Events that are too old go. Of the others a number is kept, and it is shared fairly: each session is a voice, and so
//! is each backend for what is about no session. While there is no room for all that is said, the loudest voices lose
//! their oldest events until they are as loud as the next one, and so on. So a session that flaps for a week pushes out
//! nothing but its own past. No voice is cut to less than a few events for the sake of others: if there are too many
//! voices for that, what is oldest goes, whose ever it is.

use std::time::Duration;

use rusqlite::Connection;
use seawall_model::Timestamp;

use crate::journal::{self, int};
use crate::{JournalConfig, once};

/// With a write after this time, old events go.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// So many of the newest events of a voice are safe from louder and quieter ones.
const FEW: u64 = 20;

/// When to prune, and by which bounds.
#[derive(Debug)]
pub(crate) struct Pruning {
    config: JournalConfig,
    added: u64,
    last: Option<Timestamp>,
}

impl Pruning {
    pub(crate) fn new(config: JournalConfig) -> Self {
        Self { config, added: 0, last: None }
    }

    /// Counts events that came.
    pub(crate) fn count(&mut self, events: u64) {
        self.added = self.added.saturating_add(events);
    }

    /// Whether enough came, or enough time went by.
    pub(crate) fn is_due(&self) -> bool {
        let now = Timestamp::now();
        let many = self.added >= (self.config.events / 10).clamp(1, 256);
        // A clock that was set back must not put pruning off for as long.
        many || self.last.is_none_or(|last| now < last || now.since(last) >= PRUNE_EVERY)
    }

    /// Forgets what is beyond the bounds.
    pub(crate) fn prune(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let now = Timestamp::now();
        let transaction = connection.unchecked_transaction()?;
        journal::keep_last(connection)?;
        let age = u64::try_from(self.config.age.as_millis()).unwrap_or(u64::MAX);
        // From the oldest on, and no further than to the first that is not too old: it costs what is forgotten.
        let mut old = connection.prepare_cached(
            "DELETE FROM events WHERE id < coalesce((SELECT id FROM events WHERE at >= ?1 ORDER BY id LIMIT 1), \
             (SELECT max(id) + 1 FROM events))",
        )?;
        old.execute([int(now.as_millis().saturating_sub(age))])?;
        share(self.config.events, connection)?;
        once::prune(now, connection)?;
        transaction.commit()?;
        self.added = 0;
        self.last = Some(now);
        Ok(())
    }
}

fn share(most: u64, connection: &Connection) -> Result<(), rusqlite::Error> {
    let mut ids = connection.prepare_cached("SELECT coalesce(max(id) - min(id) + 1, 0) FROM events")?;
    // As many as there can be: who has spoken how often need not be counted.
    if ids.query_row((), |row| row.get::<_, i64>(0))?.unsigned_abs() <= most {
        return Ok(());
    }
    let mut voices = connection
        .prepare_cached("SELECT count(*) FROM events GROUP BY session, CASE WHEN session IS NULL THEN backend END")?;
    let voices = voices.query_map((), |row| row.get::<_, i64>(0))?;
    let voices = voices.map(|count| count.map(i64::unsigned_abs)).collect::<Result<Vec<_>, _>>()?;
    let Some(level) = level(voices, most) else { return Ok(()) };
    let mut louder = connection.prepare_cached(
        "DELETE FROM events WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY session, \
         CASE WHEN session IS NULL THEN backend END ORDER BY id DESC) AS place FROM events) WHERE place > ?1)",
    )?;
    louder.execute([int(level.max(FEW))])?;
    let mut oldest = connection
        .prepare_cached("DELETE FROM events WHERE id <= (SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?1)")?;
    oldest.execute([int(most)]).map(drop)
}

/// The most events that any voice may keep so that all together have no more than `most`. `None`: there is room for all.
fn level(mut voices: Vec<u64>, most: u64) -> Option<u64> {
    voices.sort_unstable();
    let (mut room, mut left) = (most, voices.len() as u64);
    for events in voices {
        let share = room / left.max(1);
        if events > share {
            return Some(share);
        }
        room -= events;
        left -= 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loudest_lose() {
        assert_eq!(level(vec![], 10), None);
        assert_eq!(level(vec![3, 3, 4], 10), None);
        assert_eq!(level(vec![3, 3, 5], 10), Some(4));
        assert_eq!(level(vec![100, 1, 100], 11), Some(5));
        assert_eq!(level(vec![1; 20], 10), Some(0));
    }
}
