//! Quarantine: faults are laid at the door of the narrowest thing that explains them.
//!
//! A plugin that faults whenever it is asked about one session must not cost the other sessions their backend. After a
//! few faults in a row the pair (function, session) is left alone for a while, twice as long each time, and every other
//! call goes on. A batch that faults is cut in half until the sessions at fault are alone; from then on they are asked
//! about alone, until they are answered about.
//!
//! Owns no task: a quarantine ends when somebody asks after its time is up.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seawall_model::SessionId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::breaker::millis;
use crate::changes::{Change, Changes};
use crate::stack::Refuse;

/// When a session is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct QuarantineConfig {
    /// So many faults in a row begin it. Default 2.
    pub faults: u32,
    /// How long the first lasts; each further one is twice as long. Default 5 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub first: Duration,
    /// None is longer. Default 5 min.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub longest: Duration,
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self { faults: 2, first: Duration::from_secs(5), longest: Duration::from_secs(300) }
    }
}

impl QuarantineConfig {
    pub(crate) fn check(&self, refuse: Refuse<'_>) {
        if self.faults == 0 {
            refuse("quarantine.faults", "at least 1");
        }
        if self.first < Duration::from_millis(10) || self.first > self.longest {
            refuse("quarantine.first", "at least 10ms, and at most `longest`");
        }
        if self.longest > Duration::from_secs(24 * 3600) {
            refuse("quarantine.longest", "at most 1 day");
        }
    }
}

/// A function and a session that are left alone, as `why` and `backend inspect` show them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Quarantined {
    /// The function.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub function: Cow<'static, str>,
    /// The session.
    pub session: SessionId,
    /// Faults in a row.
    pub faults: u32,
    /// The function is asked about the session again after this.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub left: Duration,
    /// The newest of the faults.
    pub reason: String,
}

#[derive(Debug, Default)]
struct Record {
    faults: u32,
    until: Option<Instant>,
    reason: String,
}

/// A plugin that faults about more sessions than this is sick as a whole, which is the breaker's affair.
const MOST_RECORDS: usize = 4096;

/// The quarantine of one backend.
#[derive(Debug)]
pub struct Quarantine {
    config: QuarantineConfig,
    records: Mutex<HashMap<(&'static str, SessionId), Record>>,
    changes: Changes,
}

impl Quarantine {
    /// An empty one, which tells there what begins and ends.
    pub fn new(config: QuarantineConfig, changes: Changes) -> Self {
        Self { config, records: Mutex::default(), changes }
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

    /// The function faulted about this session, and has not answered about it since.
    pub fn suspects(&self, function: &'static str, session: &SessionId) -> bool {
        let records = self.lock();
        !records.is_empty() && records.contains_key(&(function, session.clone()))
    }

    /// The function faulted when asked about this session alone.
    pub fn faulted(&self, function: &'static str, session: &SessionId, reason: String) {
        let mut records = self.lock();
        if records.len() >= MOST_RECORDS {
            records.retain(|_, record| left(record).is_some());
            if records.len() >= MOST_RECORDS {
                return;
            }
        }
        let record = records.entry((function, session.clone())).or_default();
        record.faults = record.faults.saturating_add(1);
        record.reason = reason;
        if let Some(over) = record.faults.checked_sub(self.config.faults) {
            let factor = 1_u32.checked_shl(over).unwrap_or(u32::MAX);
            let length = self.config.first.saturating_mul(factor).min(self.config.longest);
            record.until = Some(Instant::now() + length);
            self.changes.tell(Change::Quarantined(shown(function, session, record, length)));
        }
    }

    /// The function answered about this session.
    pub fn answered(&self, function: &'static str, session: &SessionId) {
        let mut records = self.lock();
        if records.is_empty() {
            return;
        }
        if let Some(Record { until: Some(_), .. }) = records.remove(&(function, session.clone())) {
            self.changes.tell(Change::Released { function, session: session.clone() });
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
            .filter_map(|((function, session), record)| Some(shown(function, session, record, left(record)?)))
            .collect();
        list.sort_by(|a, b| (&a.session, &a.function).cmp(&(&b.session, &b.function)));
        list
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(&'static str, SessionId), Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(function: &'static str, session: &SessionId, record: &Record, left: Duration) -> Quarantined {
    let (faults, reason) = (record.faults, record.reason.clone());
    Quarantined { function: function.into(), session: session.clone(), faults, left: millis(left), reason }
}

fn left(record: &Record) -> Option<Duration> {
    record.until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_begins_after_faults_in_a_row_grows_and_ends() {
        let quarantine = Quarantine::new(QuarantineConfig::default(), Changes::default());
        let (poisonous, other) = (SessionId::random(), SessionId::random());
        quarantine.faulted("inspect", &poisonous, "trapped".to_owned());
        assert_eq!(quarantine.left("inspect", &poisonous), None);
        quarantine.faulted("inspect", &poisonous, "trapped".to_owned());
        assert_eq!(quarantine.left("inspect", &poisonous), Some(Duration::from_secs(5)));
        assert_eq!(quarantine.left("inspect", &other), None);
        assert_eq!(quarantine.left("start", &poisonous), None);
        assert_eq!(quarantine.list().len(), 1);

        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(quarantine.left("inspect", &poisonous), None);
        quarantine.faulted("inspect", &poisonous, "trapped".to_owned());
        assert_eq!(quarantine.left("inspect", &poisonous), Some(Duration::from_secs(10)));
        for _ in 0..100 {
            quarantine.faulted("inspect", &poisonous, "trapped".to_owned());
        }
        assert_eq!(quarantine.left("inspect", &poisonous), Some(Duration::from_secs(300)));

        quarantine.answered("inspect", &poisonous);
        assert_eq!(quarantine.list(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn its_beginnings_and_its_end_are_told() {
        let changes = Changes::default();
        let mut told = changes.subscribe();
        let quarantine = Quarantine::new(QuarantineConfig::default(), changes);
        let session = SessionId::random();
        // One fault and an answer are nothing to tell.
        quarantine.faulted("start", &session, "trapped".to_owned());
        quarantine.answered("start", &session);
        for faults in 0..3 {
            quarantine.faulted("inspect", &session, format!("trapped {faults}"));
        }
        quarantine.answered("inspect", &session);
        quarantine.answered("inspect", &session);
        let mut all = Vec::new();
        while let Ok(change) = told.try_recv() {
            all.push(change);
        }
        let begun = |faults, seconds| {
            let (session, reason) = (session.clone(), format!("trapped {}", faults - 1));
            let left = Duration::from_secs(seconds);
            Change::Quarantined(Quarantined { function: "inspect".into(), session, faults, left, reason })
        };
        let released = Change::Released { function: "inspect", session: session.clone() };
        assert_eq!(all, [begun(2, 5), begun(3, 10), released]);
    }

    #[tokio::test(start_paused = true)]
    async fn its_memory_is_bounded() {
        let quarantine = Quarantine::new(QuarantineConfig::default(), Changes::default());
        for _ in 0..2 * MOST_RECORDS {
            quarantine.faulted("inspect", &SessionId::random(), String::new());
        }
        assert!(quarantine.lock().len() <= MOST_RECORDS);
        // What is past makes room for what is new.
        let session = SessionId::random();
        quarantine.faulted("inspect", &session, String::new());
        quarantine.faulted("inspect", &session, String::new());
        assert!(quarantine.left("inspect", &session).is_some());
    }
}
