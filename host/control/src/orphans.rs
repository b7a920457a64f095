//! Orphans: workloads that bear this host's stamp and that no session owns (A7).
//!
//! They come from a create that was cut off and landed late, or from a session that was forgotten while its backend was
//! away. One is removed only if two complete listings had it and it is older than a grace. Sessions are looked up after
//! the listing is complete, and again under the session's lock when it is removed: every session is stored before its
//! workload is made. A session of another backend is not this backend's affair: its lock is not taken, whatever a listing
//! says.
//!
//! Orphans that are many beside what is known are rather a store that was put back to an earlier day: none of them is
//! removed unless an operator confirms it ([`Gc::Confirmed`]).
//!
//! A backend that invents workloads fills neither the memory nor the journal: so many orphans are known at one time, and
//! so many of a listing are told each by an event, the others together by one.
//!
//! One clean-up of a backend at a time: whoever holds its [`Orphans`]. A sweep's own is a task, so that an engine that is
//! slow to remove holds up no sweep.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use seawall_backend::{ExecutionBackend as _, trace};
use seawall_model::{Incarnation, Key, SessionState, Timestamp, Workload};
use tracing::Instrument as _;

use crate::backend::{Backend, ConditionKind, call};
use crate::change::Right;
use crate::config::share;
use crate::core::Core;
use crate::events::{Kind, of_backend};
use crate::gc::{Cleanup, Fate, Gc, Orphan};
use crate::listing::{Listing, Place};
use crate::state::Cell;

/// Orphans known at one time. The others wait until these are gone.
const MOST: usize = 1000;
/// Orphans of one listing that have an event each.
const MOST_TOLD: usize = 20;

/// What was seen and not yet removed.
#[derive(Default)]
pub(crate) struct Orphans {
    seen: HashMap<Place, Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    first: Timestamp,
    listings: u32,
}

/// A complete listing, and what may be done about it.
pub(crate) struct Judged {
    pub(crate) cleanup: Cleanup,
    /// Those whose fate is [`Fate::Removable`].
    removable: HashMap<Place, Workload>,
}

/// Whether a workload is an orphan, and what must be held while it is removed.
enum Verdict {
    Owned,
    Orphan(Option<Right>),
}

/// What a sweep does about the orphans of its listing. Says whether another listing should come soon.
pub(crate) async fn clean_up(core: &Arc<Core>, backend: &Arc<Backend>, listing: &Listing) -> bool {
    // A clean-up is under way: this listing may have what that one has removed since.
    let Ok(mut orphans) = Arc::clone(&backend.orphans).try_lock_owned() else { return true };
    let judged = orphans.judge(core, backend, listing, Gc::Share).await;
    let soon = judged.cleanup.orphans.iter().any(|orphan| matches!(orphan.fate, Fate::Young | Fate::Removable));
    if !judged.removable.is_empty() {
        let span = tracing::info_span!(parent: None, "orphans", backend = %backend.name);
        let (shared, own) = (Arc::clone(core), Arc::clone(backend));
        let removal = async move {
            // Cancel-safe: what a removal that was cut off did is seen by the next listing.
            tokio::select! {
                () = own.stopping() => {}
                _ = orphans.remove(&shared, &own, judged) => {}
            }
        };
        backend.spawn(core, trace::scope(trace::current_or_new(), removal).instrument(span));
    }
    soon
}

impl Orphans {
    /// Looks through a complete listing. Removes nothing.
    pub(crate) async fn judge(&mut self, core: &Core, backend: &Backend, listing: &Listing, gc: Gc) -> Judged {
        let mut found: Vec<_> = listing
            .iter()
            .filter(|(_, workload)| matches!(judge(core, backend, workload), Verdict::Orphan(_)))
            .collect();
        found.sort_unstable_by_key(|(place, _)| *place);
        let places: HashSet<&Place> = found.iter().map(|(place, _)| *place).collect();
        // What a clean listing did not have is gone by itself, or has found its session.
        self.seen.retain(|place, _| places.contains(place));

        let now = core.clock.now();
        let known = listing.len().saturating_sub(found.len());
        let most = share(known, core.config.orphan_percent, core.config.orphan_minimum);
        let many = gc != Gc::Confirmed && found.len() > most;
        let mut cleanup = Cleanup { backend: backend.name.clone(), known, most, orphans: Vec::new(), unlisted: 0 };
        let mut removable = HashMap::new();
        let mut found_now = Told::new(core, backend, Kind::OrphanFound);
        for (place, workload) in found {
            if self.seen.len() >= MOST && !self.seen.contains_key(place) {
                cleanup.unlisted += 1;
                continue;
            }
            let seen = self.seen.entry(place.clone()).or_insert(Seen { first: now, listings: 0 });
            seen.listings = seen.listings.saturating_add(1);
            if seen.listings == 1 {
                found_now.one(workload, "belongs to no session").await;
            }
            let fate = match () {
                () if seen.listings < 2 || now.since(seen.first) < core.config.orphan_grace => Fate::Young,
                () if many => Fate::Held,
                () => {
                    removable.insert(place.clone(), workload.clone());
                    Fate::Removable
                }
            };
            cleanup.orphans.push(Orphan {
                session: workload.session.clone(),
                incarnation: workload.incarnation,
                state: workload.status.state,
                since: seen.first,
                fate,
                error: None,
            });
        }
        found_now.others("belong to no session").await;
        hold_back(core, backend, &cleanup, now).await;
        Judged { cleanup, removable }
    }

    /// Removes what may be removed, and says what became of each.
    pub(crate) async fn remove(&mut self, core: &Core, backend: &Backend, judged: Judged) -> Cleanup {
        let Judged { mut cleanup, mut removable } = judged;
        let mut removed = Told::new(core, backend, Kind::OrphanRemoved);
        for orphan in &mut cleanup.orphans {
            let place = (orphan.session.clone(), orphan.incarnation);
            let Some(workload) = removable.remove(&place) else { continue };
            let Verdict::Orphan(right) = judge(core, backend, &workload) else {
                orphan.fate = Fate::Kept;
                continue;
            };
            let handle = workload.status.handle.clone();
            let key = Key { session: place.0.clone(), incarnation: place.1, handle };
            let removal = call("remove", backend.driver.remove(&key, true)).await;
            drop(right);
            match removal {
                Ok(()) => {
                    self.seen.remove(&place);
                    orphan.fate = Fate::Removed;
                    removed.one(&workload, "belonged to no session and was removed").await;
                }
                Err(error) => {
                    tracing::warn!(backend = %backend.name, session = %place.0, %error, "an orphan could not be removed");
                    orphan.fate = Fate::Failed;
                    orphan.error = Some(error.to_string());
                }
            }
        }
        removed.others("belonged to no session and were removed").await;
        cleanup
    }
}

/// Raises or ends the condition that orphans wait for an operator.
async fn hold_back(core: &Core, backend: &Backend, cleanup: &Cleanup, now: Timestamp) {
    if !cleanup.orphans.iter().any(|orphan| orphan.fate == Fate::Held) {
        backend.clear(ConditionKind::OrphansHeld);
        return;
    }
    let Cleanup { backend: name, known, most, .. } = cleanup;
    let message = format!(
        "{} workloads belong to no session, beside {known} that do, and no more than {most} are removed unasked: look at \
         them with `seawall backend gc {name} --dry-run`, and remove them with `seawall backend gc {name} --confirm`",
        cleanup.count()
    );
    if backend.raise(ConditionKind::OrphansHeld, message.clone(), now) {
        core.tell(of_backend(name, Kind::OrphanHeld, now, message)).await;
    }
}

/// Events of one kind about many workloads.
struct Told<'a> {
    core: &'a Core,
    backend: &'a Backend,
    kind: Kind,
    count: usize,
}

impl<'a> Told<'a> {
    fn new(core: &'a Core, backend: &'a Backend, kind: Kind) -> Self {
        Self { core, backend, kind, count: 0 }
    }

    async fn one(&mut self, workload: &Workload, what: &str) {
        self.count += 1;
        if self.count <= MOST_TOLD {
            let message =
                format!("the workload of session {}, incarnation {} {what}", workload.session, workload.incarnation);
            self.tell(message).await;
        }
    }

    /// Those that were too many for an event each.
    async fn others(self, what: &str) {
        if self.count > MOST_TOLD {
            self.tell(format!("{} more workloads {what}", self.count - MOST_TOLD)).await;
        }
    }

    async fn tell(&self, message: String) {
        self.core.tell(of_backend(&self.backend.name, self.kind, self.core.clock.now(), message)).await;
    }
}

fn judge(core: &Core, backend: &Backend, workload: &Workload) -> Verdict {
    let Some(entry) = core.sessions.get(&workload.session) else { return Verdict::Orphan(None) };
    if entry.backend != backend.name {
        return Verdict::Orphan(None);
    }
    // Whoever holds it is about to change the session: judge it by the next listing.
    let Some(right) = entry.try_commit() else { return Verdict::Owned };
    if entry.with(|cell| is_left_over(cell, workload.incarnation)) {
        Verdict::Orphan(Some(right))
    } else {
        Verdict::Owned
    }
}

/// Older than the session's own, or its own though that is known to be gone: a create that landed late. The one just
/// before a pending incarnation is its worker's to remove. A newer one means that the store was put back to an earlier
/// day: the sweep takes it over.
fn is_left_over(cell: &Cell, incarnation: Incarnation) -> bool {
    let record = &cell.record;
    let workers = record.state == SessionState::Pending && incarnation.saturating_add(1) == record.incarnation;
    let older = incarnation < record.incarnation && !workers;
    let late = incarnation == record.incarnation && record.state.is_final() && cell.marks.gone;
    (older || late) && !cell.removed
}
