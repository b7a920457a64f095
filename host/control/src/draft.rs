//! What is known of a session, as one value that pure code works on, and the writes that make a change of it durable.

use std::sync::Arc;
use std::time::Duration;

use seawall_backend::Error;
use seawall_model::{Desired, Health, Incarnation, Key, Secret, SessionState, Signal, Timestamp};
use seawall_store::{Act, Event, Intent, SessionRecord, Write};

use crate::ControlConfig;
use crate::probe::Fault;

/// What is known only while the daemon runs: worth nothing after a restart, and safe to have forgotten.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Marks {
    /// The workload of the record's incarnation is certainly not there.
    pub(crate) gone: bool,
    /// That it is not there is what the backend says by leaving it out. It was not removed.
    pub(crate) left_out: bool,
    /// The workload of the incarnation before is certainly not there.
    pub(crate) previous_gone: bool,
    /// An answer left the workload out; not confirmed.
    pub(crate) missing: bool,
    /// Ask the backend before the next step.
    pub(crate) look: bool,
    /// The polite signal of the open stop was sent.
    pub(crate) signalled: bool,
    /// How the last signal that a user had sent fared.
    pub(crate) sent: Option<Result<(), Arc<Error>>>,
    /// A user waits for it to be frozen (`true`), or to run on.
    pub(crate) freeze: Option<bool>,
    /// How the last of these fared.
    pub(crate) frozen: Option<Result<(), Arc<Error>>>,
    /// It is paused, is to end, and cannot be made to run on: only KILL is left.
    pub(crate) stuck: bool,
    /// How often it was paused.
    pub(crate) pauses: u32,
    /// When KILL was last sent.
    pub(crate) killed_at: Option<Timestamp>,
    /// The grace that was asked for with a stop that could not begin at once.
    pub(crate) grace: Option<Duration>,
    /// Why what is recorded may no longer be so.
    pub(crate) doubt: Option<Arc<str>>,
    /// The backend's answer that ended this start for good.
    pub(crate) refused: Option<Arc<Error>>,
    /// It is removed by the host's own hand, without its plugin.
    pub(crate) break_glass: bool,
    /// Acts that failed in a row.
    pub(crate) attempts: u32,
    /// No act before this.
    pub(crate) retry_at: Option<Timestamp>,
    /// The health that the backend tells.
    pub(crate) told: Health,
    /// The health that the host's probes came to, where they look after that.
    pub(crate) probed: Option<Health>,
    /// Why it is unhealthy, as far as this daemon has seen it become so.
    pub(crate) fault: Option<Fault>,
    /// Since when it is healthy.
    pub(crate) healthy_since: Option<Timestamp>,
    /// How long it was healthy before it became unhealthy.
    pub(crate) healthy_for: Duration,
    /// What its environment had from files; copied in the same way as the next two.
    pub(crate) given: Arc<[Secret]>,
    /// How many read what it wrote; copied from the session's cell, which alone counts.
    pub(crate) readers: usize,
    /// Somebody is about to read what this incarnation wrote; worked out in the same way.
    pub(crate) awaited: bool,
    /// How often it was looked at since the last act; spaces out the quick looks.
    pub(crate) looks: u32,
}

/// A session's record, its open intent and the marks, on the way to a change.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// What is stored.
    pub(crate) record: SessionRecord,
    /// What is stored about an act that may be under way.
    pub(crate) intent: Option<Intent>,
    /// What is in memory only.
    pub(crate) marks: Marks,
    /// What to tell.
    pub(crate) events: Vec<Event>,
}

/// What pure code is given besides the session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// The time.
    pub(crate) now: Timestamp,
    /// A draw from 0 to 1, for delays.
    pub(crate) jitter: f64,
    /// Whether new workloads may be placed on the backend (B9).
    pub(crate) usable: bool,
    /// The backend's engine carries out health checks by itself.
    pub(crate) engine_checks: bool,
    /// Settings.
    pub(crate) config: &'a ControlConfig,
}

impl Draft {
    /// The writes that lead from `stored` to this, in order; none if there is nothing to write.
    pub(crate) fn writes(&self, stored: (&SessionRecord, Option<&Intent>)) -> Vec<Write> {
        let mut writes = Vec::new();
        if self.record != *stored.0 {
            writes.push(Write::UpdateSession(Box::new(self.record.clone())));
        }
        match (&self.intent, stored.1) {
            (Some(intent), before) if before != Some(intent) => writes.push(Write::PutIntent(intent.clone())),
            (None, Some(_)) => writes.push(Write::SettleIntent(self.record.id.clone())),
            _ => {}
        }
        writes.extend(self.events.iter().cloned().map(Write::Event));
        writes
    }

    /// The open act on the record's incarnation.
    pub(crate) fn open(&self) -> Option<Act> {
        self.intent.as_ref().filter(|intent| intent.incarnation == self.record.incarnation).map(|intent| intent.act)
    }

    /// Since when an act is open; the session's own beginning if none is.
    pub(crate) fn since(&self) -> Timestamp {
        self.intent.as_ref().map_or(self.record.created_at, |intent| intent.since)
    }

    /// Opens an intent, unless the same is open: a second try of an act is the same act.
    pub(crate) fn intend(&mut self, incarnation: Incarnation, act: Act, now: Timestamp) {
        let same = |intent: &Intent| intent.incarnation == incarnation && intent.act == act;
        if !self.intent.as_ref().is_some_and(same) {
            self.intent = Some(Intent { session: self.record.id.clone(), incarnation, act, since: now });
        }
    }

    /// On to the next incarnation: the one before it must be removed first, the handle is still that one's.
    pub(crate) fn next_incarnation(&mut self) {
        self.record.incarnation = self.record.incarnation.saturating_add(1);
        self.record.state = SessionState::Pending;
        self.record.health = Health::Unknown;
        self.record.started = false;
        self.record.ready = false;
        self.record.started_at = None;
        self.record.finished_at = None;
        self.record.restart_at = None;
        self.record.reason = None;
        self.intent = None;
        // What was only left out is removed before the next is made: then no two run at once, should that have been untrue.
        let gone = self.marks.gone && !self.marks.left_out;
        self.marks = Marks { previous_gone: gone || self.record.incarnation <= 1, ..Marks::default() };
        if self.marks.previous_gone {
            self.record.handle = None;
        }
    }

    /// The user, or the daemon for the user, asked for it to end.
    pub(crate) fn asked_to_end(&self) -> bool {
        self.record.desired != Desired::Running
    }

    /// The signal that an open stop begins with, and the end of its grace.
    pub(crate) fn ending(&self) -> Option<(Signal, Option<Timestamp>)> {
        match self.open()? {
            Act::Stop { signal, kill_at } => Some((signal, kill_at)),
            Act::Restart { signal, kill_at } => Some((signal, Some(kill_at))),
            Act::Create | Act::Start | Act::Signal { .. } | Act::Remove => None,
        }
    }

    /// It is ended since a restart was asked for: the next incarnation follows.
    pub(crate) fn restarts(&self) -> bool {
        self.record.desired == Desired::Running && matches!(self.open(), Some(Act::Restart { .. }))
    }

    /// It ran, is over for good, and goes without being asked. One that could not be started stays, so that somebody sees
    /// why.
    pub(crate) fn removes_itself(&self) -> bool {
        let record = &self.record;
        let ran = record.started_at.is_some() || record.desired == Desired::Stopped;
        record.spec.auto_remove && record.state.is_final() && ran
    }

    /// It is ended for being unhealthy, and will be started again.
    pub(crate) fn ends_unhealthy(&self) -> bool {
        self.record.desired == Desired::Running && matches!(self.open(), Some(Act::Stop { .. }))
    }
}

/// The workload of a record's incarnation. While the state is `pending` the handle is that of the incarnation before.
pub(crate) fn key(record: &SessionRecord) -> Key {
    let handle = if record.state == SessionState::Pending { None } else { record.handle.clone() };
    Key { session: record.id.clone(), incarnation: record.incarnation, handle }
}

/// There is, or may be, a workload that can change by itself.
pub(crate) fn is_live(state: SessionState) -> bool {
    matches!(state, SessionState::Created | SessionState::Running | SessionState::Paused)
}
