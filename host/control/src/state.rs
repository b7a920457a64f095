//! The sessions in memory: what is stored, what is known besides, and who waits for a change.
//!
//! Two locks a session. `cell` is held for an instant and never over an await. `commit` is held from reading to
//! publishing a [`Change`](crate::change::Change), over the write to the store.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use seawall_backend::trace::{self, Cause};
use seawall_model::{
    BackendName, Health, Incarnation, Redactor, Secret, Session, SessionId, SessionName, SessionSpec, SessionState,
    Timestamp,
};
use seawall_store::{Intent, SessionRecord};
use tokio::sync::{Notify, watch};

use crate::change::Right;
use crate::draft::{Draft, Marks};
use crate::hands::Early;
use crate::look::Seen;
use crate::why::{LastError, LastProbe};

/// A session.
pub(crate) struct Entry {
    pub(crate) id: SessionId,
    pub(crate) backend: BackendName,
    cell: Mutex<Cell>,
    commit: Arc<tokio::sync::Mutex<()>>,
    changed: watch::Sender<()>,
    /// Wakes its worker.
    pub(crate) work: Notify,
}

/// A session as JSON, and what it was made of: it holds for as long as these are the cell's.
struct Document {
    record: Arc<SessionRecord>,
    doubt: Option<Arc<str>>,
    text: Arc<str>,
}

/// Enough to see what led to what.
const ERRORS_KEPT: usize = 5;

/// What is known of a session.
pub(crate) struct Cell {
    pub(crate) record: Arc<SessionRecord>,
    /// The spec without secrets, as it is shown.
    shown: Arc<SessionSpec>,
    /// The session as JSON, once somebody has asked for it.
    document: Option<Document>,
    pub(crate) intent: Option<Intent>,
    pub(crate) marks: Marks,
    /// Its record is deleted.
    pub(crate) removed: bool,
    /// Counts the changes: an answer to a question that was asked before the last one is not taken in.
    pub(crate) version: u64,
    /// A call of its worker is under way: answers to the sweep's questions are not taken in.
    pub(crate) acting: bool,
    /// The call waits for its turn.
    pub(crate) queued: bool,
    /// What its environment had from files when it was last made.
    pub(crate) given: Arc<[Secret]>,
    /// How many read what it wrote.
    pub(crate) readers: usize,
    /// Somebody said that he will read what it writes, of each incarnation.
    pub(crate) attended: bool,
    /// The newest incarnation that somebody has begun to read.
    pub(crate) read: Incarnation,
    /// What it writes from its start on, for whoever said that he comes for it.
    pub(crate) early: Option<(Incarnation, Early)>,
    /// It has a worker.
    pub(crate) working: bool,
    /// Its worker has to look again before it may end.
    pub(crate) kicked: bool,
    /// When the backend last answered about it, and to which question.
    pub(crate) seen: Option<Seen>,
    /// The trace of whoever last gave its worker something to do.
    pub(crate) cause: Option<Cause>,
    /// What went wrong of late in calls about it, oldest first.
    pub(crate) errors: VecDeque<LastError>,
    /// What its probes last came to, of this incarnation.
    probes: (Incarnation, Vec<LastProbe>),
}

impl Entry {
    pub(crate) fn new(record: SessionRecord, intent: Option<Intent>, marks: Marks) -> Arc<Self> {
        Arc::new(Self {
            id: record.id.clone(),
            backend: record.backend().clone(),
            cell: Mutex::new(Cell {
                shown: Arc::new(record.spec.redacted()),
                document: None,
                record: Arc::new(record),
                intent,
                marks,
                removed: false,
                version: 0,
                acting: false,
                queued: false,
                given: Arc::default(),
                readers: 0,
                attended: false,
                read: 0,
                early: None,
                working: false,
                kicked: false,
                seen: None,
                cause: None,
                errors: VecDeque::new(),
                probes: (0, Vec::new()),
            }),
            commit: Arc::default(),
            changed: watch::Sender::new(()),
            work: Notify::new(),
        })
    }

    /// Reads or changes what is in memory. Nothing slow, and no second session, inside.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Cell) -> T) -> T {
        look(&mut self.cell.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for the right to change the record.
    pub(crate) async fn commit(&self) -> Right {
        Arc::clone(&self.commit).lock_owned().await
    }

    /// The right to change the record, if nobody has it now.
    pub(crate) fn try_commit(&self) -> Option<Right> {
        Arc::clone(&self.commit).try_lock_owned().ok()
    }

    /// Told of every change that [`Cell::session`] would show.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Wakes all who wait for a change of it.
    pub(crate) fn tell(&self) {
        self.changed.send_replace(());
    }

    /// Why what is recorded may not be so any more. In memory only, and no change of the record.
    pub(crate) fn doubt(&self, why: &Arc<str>) {
        let changed = self.with(|cell| {
            let changed = cell.marks.doubt.as_ref() != Some(why);
            cell.marks.doubt = Some(Arc::clone(why));
            changed
        });
        if changed {
            self.tell();
        }
    }
}

impl Cell {
    /// Remembers what went wrong in a call, and within which trace.
    pub(crate) fn erred(&mut self, function: &str, message: &str, at: Timestamp) {
        let trace_id = trace::current();
        if let Some(last) = self.errors.back_mut()
            && last.function == function
            && last.message == message
        {
            last.at = at;
            last.trace_id = trace_id;
            last.times = last.times.saturating_add(1);
            return;
        }
        if self.errors.len() >= ERRORS_KEPT {
            self.errors.pop_front();
        }
        let (function, message) = (function.to_owned(), message.to_owned());
        self.errors.push_back(LastError { at, times: 1, function, message, trace_id });
    }

    /// Remembers what a probe came to.
    pub(crate) fn probed(&mut self, incarnation: Incarnation, last: LastProbe) {
        let (of, probes) = &mut self.probes;
        if std::mem::replace(of, incarnation) != incarnation {
            probes.clear();
        }
        match probes.iter_mut().find(|probe| probe.probe == last.probe) {
            Some(probe) => *probe = last,
            None => probes.push(last),
        }
    }

    /// What the probes of the record's incarnation last came to.
    pub(crate) fn probes(&self) -> &[LastProbe] {
        let (of, probes) = &self.probes;
        if *of == self.record.incarnation { probes } else { &[] }
    }

    /// Takes its secrets out of texts.
    pub(crate) fn redactor(&self) -> Option<Redactor> {
        Redactor::of_values(self.record.spec.env.values().chain(self.given.iter()))
    }

    /// Whether somebody said that he will read what this incarnation writes, and has not come yet.
    pub(crate) fn awaited(&self) -> bool {
        self.attended && self.read < self.record.incarnation
    }

    /// To work out a change on.
    pub(crate) fn draft(&self) -> Draft {
        Draft {
            record: SessionRecord::clone(&self.record),
            intent: self.intent.clone(),
            marks: Marks {
                given: Arc::clone(&self.given),
                readers: self.readers,
                awaited: self.awaited(),
                ..self.marks.clone()
            },
            events: Vec::new(),
        }
    }

    /// The state that users see.
    pub(crate) fn state(&self) -> SessionState {
        if self.marks.doubt.is_some() && !self.record.state.is_final() {
            SessionState::Unknown
        } else {
            self.record.state
        }
    }

    /// The session as a list shows it, in JSON; made anew only if it changed since it was last asked for.
    ///
    /// # Errors
    /// Only a defect.
    pub(crate) fn document(&mut self) -> Result<Arc<str>, serde_json::Error> {
        let same_doubt = |doubt: &Option<Arc<str>>| match (doubt, &self.marks.doubt) {
            (Some(then), Some(now)) => Arc::ptr_eq(then, now),
            (then, now) => then.is_none() && now.is_none(),
        };
        if let Some(document) = &self.document
            && Arc::ptr_eq(&document.record, &self.record)
            && same_doubt(&document.doubt)
        {
            return Ok(Arc::clone(&document.text));
        }
        let text: Arc<str> = serde_json::to_string(&self.session())?.into();
        let (record, doubt) = (Arc::clone(&self.record), self.marks.doubt.clone());
        self.document = Some(Document { record, doubt, text: Arc::clone(&text) });
        Ok(text)
    }

    /// What a list is filtered by.
    pub(crate) fn glance(&self) -> Glance<'_> {
        let (record, state) = (&*self.record, self.state());
        let health = if state == SessionState::Unknown { Health::Unknown } else { record.health };
        let (backend, labels) = (record.backend(), &self.shown.labels);
        Glance { id: &record.id, name: &record.name, backend, state, health, labels, created_at: record.created_at }
    }

    /// The session as users see it.
    pub(crate) fn session(&self) -> Session {
        let record = &self.record;
        let state = self.state();
        let unknown = state == SessionState::Unknown;
        let doubt = self.marks.doubt.as_ref().filter(|_| unknown).map(ToString::to_string);
        Session {
            id: record.id.clone(),
            name: record.name.clone(),
            backend: record.backend().clone(),
            desired: record.desired,
            state,
            last_state: unknown.then_some(record.state),
            health: if unknown { Health::Unknown } else { record.health },
            ready: record.ready && record.state != SessionState::Paused,
            exit: record.exit.clone(),
            incarnation: record.incarnation,
            restarts: record.restarts,
            created_at: record.created_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
            reason: doubt.or_else(|| record.reason.clone()),
            spec: SessionSpec::clone(&self.shown),
        }
    }
}

/// What lists of sessions are filtered by, as users see it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Glance<'a> {
    /// Its id.
    pub id: &'a SessionId,
    /// Its name.
    pub name: &'a SessionName,
    /// The backend it is on.
    pub backend: &'a BackendName,
    /// What is.
    pub state: SessionState,
    /// How well it runs.
    pub health: Health,
    /// From its spec.
    pub labels: &'a BTreeMap<String, String>,
    /// When it was asked for. Lists are in this order, and in that of ids among those of one instant.
    pub created_at: Timestamp,
}

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions(RwLock<Index>);

#[derive(Default)]
struct Index {
    by_id: BTreeMap<SessionId, Arc<Entry>>,
    /// The oldest first.
    by_age: BTreeMap<(Timestamp, SessionId), Arc<Entry>>,
    by_name: HashMap<SessionName, SessionId>,
}

/// What a text may stand for.
pub(crate) enum Resolved {
    /// Nothing.
    Nothing,
    /// One session.
    One(SessionId),
    /// So many.
    Many(usize),
}

/// Fewer digits of an id are no reference to it.
const SHORTEST_PREFIX: usize = 4;

impl Sessions {
    fn read<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn insert(&self, entry: Arc<Entry>) {
        let (name, created_at) = entry.with(|cell| (cell.record.name.clone(), cell.record.created_at));
        self.write(|index| {
            index.by_name.insert(name, entry.id.clone());
            index.by_age.insert((created_at, entry.id.clone()), Arc::clone(&entry));
            index.by_id.insert(entry.id.clone(), entry);
        });
    }

    pub(crate) fn remove(&self, entry: &Entry) {
        let (name, created_at) = entry.with(|cell| (cell.record.name.clone(), cell.record.created_at));
        self.write(|index| {
            index.by_id.remove(&entry.id);
            index.by_age.remove(&(created_at, entry.id.clone()));
            // The name may be another session's by now.
            if index.by_name.get(&name) == Some(&entry.id) {
                index.by_name.remove(&name);
            }
        });
    }

    pub(crate) fn get(&self, id: &SessionId) -> Option<Arc<Entry>> {
        self.read(|index| index.by_id.get(id).cloned())
    }

    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.read(|index| index.by_id.values().cloned().collect())
    }

    /// The oldest first.
    pub(crate) fn by_age(&self) -> Vec<Arc<Entry>> {
        self.read(|index| index.by_age.values().cloned().collect())
    }

    /// Those on a backend for which `wanted` holds.
    pub(crate) fn on(&self, backend: &BackendName, wanted: impl Fn(&Cell) -> bool) -> Vec<Arc<Entry>> {
        self.read(|index| {
            let theirs = index.by_id.values().filter(|entry| entry.backend == *backend);
            theirs.filter(|entry| entry.with(|cell| wanted(cell))).cloned().collect()
        })
    }

    /// What `look` makes of those on a backend, where it makes something of them.
    pub(crate) fn each_on<T>(&self, backend: &BackendName, look: impl Fn(&Cell) -> Option<T>) -> Vec<(Arc<Entry>, T)> {
        self.read(|index| {
            let theirs = index.by_id.values().filter(|entry| entry.backend == *backend);
            theirs.filter_map(|entry| Some((Arc::clone(entry), entry.with(|cell| look(cell))?))).collect()
        })
    }

    /// By id, then by name, then by the beginning of an id.
    pub(crate) fn resolve(&self, text: &str) -> Resolved {
        self.read(|index| {
            if let Ok(id) = text.parse::<SessionId>()
                && index.by_id.contains_key(&id)
            {
                return Resolved::One(id);
            }
            if let Ok(name) = text.parse::<SessionName>()
                && let Some(id) = index.by_name.get(&name)
            {
                return Resolved::One(id.clone());
            }
            if text.len() < SHORTEST_PREFIX {
                return Resolved::Nothing;
            }
            // The smallest id that begins so; anything that is not the beginning of an id has none.
            let Ok(first) = format!("{text:0<16}").parse::<SessionId>() else { return Resolved::Nothing };
            let mut matches = index.by_id.range(first..).take_while(|(id, _)| id.as_str().starts_with(text));
            match (matches.next(), matches.count()) {
                (None, _) => Resolved::Nothing,
                (Some((id, _)), 0) => Resolved::One(id.clone()),
                (Some(_), more) => Resolved::Many(more + 1),
            }
        })
    }
}
