//! What the journal forgets, and when.
//!
//! Events that are too old go. Of the others a number is kept, and it is shared fairly: each session is a voice, and so
//! is each backend for what is about no session. While there is no room for all that is said, the loudest voices lose
//! their oldest events until they are as loud as the next one, and so on. So a session that flaps for a week pushes out
//! nothing but its own past. No voice is cut to less than a few events for the sake of others: if there are too many
//! voices for that, what is oldest goes, whose ever it is.

use std::time::Duration;

use seawall_model::Timestamp;
use sqlx::SqliteConnection;

use crate::journal::int;
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

    /// Counts events, and prunes when enough came or enough time went by.
    pub(crate) async fn after(&mut self, events: u64, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let now = Timestamp::now();
        self.added = self.added.saturating_add(events);
        let many = self.added >= (self.config.events / 10).clamp(1, 256);
        // A clock that was set back must not put pruning off for as long.
        let long = self.last.is_none_or(|last| now < last || now.since(last) >= PRUNE_EVERY);
        if many || long { self.prune(connection).await } else { Ok(()) }
    }

    /// Forgets what is beyond the bounds.
    pub(crate) async fn prune(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let now = Timestamp::now();
        let age = u64::try_from(self.config.age.as_millis()).unwrap_or(u64::MAX);
        sqlx::query("DELETE FROM events WHERE at < ?1")
            .bind(int(now.as_millis().saturating_sub(age)))
            .execute(&mut *connection)
            .await?;
        share(self.config.events, connection).await?;
        once::prune(now, connection).await?;
        self.added = 0;
        self.last = Some(now);
        Ok(())
    }
}

async fn share(most: u64, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let voices: Vec<i64> =
        sqlx::query_scalar("SELECT count(*) FROM events GROUP BY session, CASE WHEN session IS NULL THEN backend END")
            .fetch_all(&mut *connection)
            .await?;
    let voices: Vec<u64> = voices.into_iter().map(i64::unsigned_abs).collect();
    let Some(level) = level(voices, most) else { return Ok(()) };
    sqlx::query(
        "DELETE FROM events WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY session, \
         CASE WHEN session IS NULL THEN backend END ORDER BY id DESC) AS place FROM events) WHERE place > ?1)",
    )
    .bind(int(level.max(FEW)))
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM events WHERE id <= (SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?1)")
        .bind(int(most))
        .execute(connection)
        .await?;
    Ok(())
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
