//! Quarantine: faults are laid at the door of the narrowest thing that explains them.
//!
//! A plugin that faults whenever it is asked about one session must not cost the other sessions their backend. After a
//! few faults in a row the pair (function, session) is left alone for a while, twice as long each time, and every other
//! call goes on. A batch that faults is cut in half until the sessions at fault are alone.
//!
//! Owns no task: a quarantine ends when somebody asks after its time is up.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seawall_model::SessionId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// When a session is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct QuarantineConfig {
    /// So many faults in a row begin it. Default 2.
    pub faults: u32,
    /// How long the first lasts; each further one is twice as long. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub first: Duration,
    /// None is longer. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub longest: Duration,
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self { faults: 2, first: Duration::from_secs(5), longest: Duration::from_secs(300) }
    }
}

/// A function and a session that are left alone, as `why` and `backend inspect` show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The function.
    pub function: &'static str,
    /// The session.
    pub session: SessionId,
    /// Faults in a row.
    pub faults: u32,
    /// It ends after this.
    pub left: Duration,
}

#[derive(Debug)]
struct Record {
    faults: u32,
    until: Option<Instant>,
}

/// The quarantine of one backend.
#[derive(Debug)]
pub struct Quarantine {
    config: QuarantineConfig,
    records: Mutex<HashMap<(&'static str, SessionId), Record>>,
}

impl Quarantine {
    /// An empty one.
    pub fn new(config: QuarantineConfig) -> Self {
        Self { config, records: Mutex::default() }
    }

    /// How long this function will not be asked about this session; `None` if it may be asked.
    pub fn left(&self, function: &'static str, session: &SessionId) -> Option<Duration> {
        let records = self.lock();
        // The usual case costs no copy of the id.
        if records.is_empty() {
            return None;
        }
        left(records.get(&(function, session.clone()))?)
    }

    /// The function faulted when asked about this session alone.
    pub fn faulted(&self, function: &'static str, session: &SessionId) {
        let mut records = self.lock();
        let record = records.entry((function, session.clone())).or_insert(Record { faults: 0, until: None });
        record.faults = record.faults.saturating_add(1);
        if let Some(over) = record.faults.checked_sub(self.config.faults) {
            let factor = 1_u32.checked_shl(over).unwrap_or(u32::MAX);
            let length = self.config.first.saturating_mul(factor).min(self.config.longest);
            record.until = Some(Instant::now() + length);
        }
    }

    /// The function answered about this session.
    pub fn answered(&self, function: &'static str, session: &SessionId) {
        let mut records = self.lock();
        if !records.is_empty() {
            records.remove(&(function, session.clone()));
        }
    }

    /// The session is gone.
    pub fn forget(&self, session: &SessionId) {
        self.lock().retain(|(_, of), _| of != session);
    }

    /// Nothing faulted of late.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Everything that is left alone now.
    pub fn list(&self) -> Vec<Quarantined> {
        let records = self.lock();
        let mut list: Vec<_> = records
            .iter()
            .filter_map(|((function, session), record)| {
                Some(Quarantined { function, session: session.clone(), faults: record.faults, left: left(record)? })
            })
            .collect();
        list.sort_by(|a, b| (&a.session, a.function).cmp(&(&b.session, b.function)));
        list
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(&'static str, SessionId), Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn left(record: &Record) -> Option<Duration> {
    record.until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_begins_after_faults_in_a_row_grows_and_ends() {
        let quarantine = Quarantine::new(QuarantineConfig::default());
        let (poisonous, other) = (SessionId::random(), SessionId::random());
        quarantine.faulted("inspect", &poisonous);
        assert_eq!(quarantine.left("inspect", &poisonous), None);
        quarantine.faulted("inspect", &poisonous);
        assert_eq!(quarantine.left("inspect", &poisonous), Some(Duration::from_secs(5)));
        assert_eq!(quarantine.left("inspect", &other), None);
        assert_eq!(quarantine.left("start", &poisonous), None);
        assert_eq!(quarantine.list().len(), 1);

        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(quarantine.left("inspect", &poisonous), None);
        quarantine.faulted("inspect", &poisonous);
        assert_eq!(quarantine.left("inspect", &poisonous), Some(Duration::from_secs(10)));
        for _ in 0..100 {
            quarantine.faulted("inspect", &poisonous);
        }
        assert_eq!(quarantine.left("inspect", &poisonous), Some(Duration::from_secs(300)));

        quarantine.answered("inspect", &poisonous);
        assert_eq!(quarantine.list(), []);
    }
}
