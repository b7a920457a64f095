//! Orphans: workloads that bear this host's stamp and that no session owns (A7).
//!
//! They come from a create that was cut off and landed late, or from a session that was forgotten while its backend was
//! away. One is removed only if two complete listings had it and it is older than a grace. Sessions are looked up after
//! the listing is complete, and under the session's lock: every session is stored before its workload is made. A session
//! of another backend is not this backend's affair: its lock is not taken, whatever a listing says.
//!
//! A backend that invents workloads fills neither the memory nor the journal: so many orphans are known at one time, and
//! so many of a listing are told each by an event, the others together by one.

use std::collections::HashMap;
use std::sync::Arc;

use seawall_backend::ExecutionBackend as _;
use seawall_model::{Incarnation, Key, SessionId, SessionState, Timestamp, Workload};

use crate::backend::{Backend, call};
use crate::change::Right;
use crate::core::Core;
use crate::events::{Kind, of_backend};
use crate::state::Cell;
use crate::sweep::Listing;

/// Orphans known at one time. The others wait until these are gone.
const MOST: usize = 1000;
/// Orphans of one listing that have an event each.
const MOST_TOLD: usize = 20;

/// What was seen and not yet removed.
#[derive(Default)]
pub(crate) struct Orphans {
    seen: HashMap<(SessionId, Incarnation), Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    first: Timestamp,
    listings: u32,
}

/// Whether a workload is an orphan, and what must be held while it is removed.
enum Verdict {
    Owned,
    Orphan(Option<Right>),
}

impl Orphans {
    /// Another listing should come soon.
    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Looks through a complete listing.
    pub(crate) async fn judge(&mut self, core: &Arc<Core>, backend: &Backend, listing: &Listing) {
        // What a clean listing did not have is gone by itself.
        self.seen.retain(|place, _| listing.contains_key(place));
        let (mut found, mut removed) = (0, 0);
        for (place, workload) in listing {
            let Verdict::Orphan(right) = judge(core, backend, workload) else {
                self.seen.remove(place);
                continue;
            };
            if self.seen.len() >= MOST && !self.seen.contains_key(place) {
                continue;
            }
            let now = core.clock.now();
            let seen = self.seen.entry(place.clone()).or_insert(Seen { first: now, listings: 0 });
            seen.listings = seen.listings.saturating_add(1);
            if seen.listings == 1 {
                found += 1;
                if found <= MOST_TOLD {
                    let message = format!("{} belongs to no session", describe(workload));
                    core.tell(of_backend(&backend.name, Kind::OrphanFound, now, message)).await;
                }
            }
            if seen.listings < 2 || now.since(seen.first) < core.config.orphan_grace {
                continue;
            }
            let key = Key {
                session: workload.session.clone(),
                incarnation: workload.incarnation,
                handle: workload.status.handle.clone(),
            };
            let removal = call("remove", backend.driver.remove(&key, true)).await;
            drop(right);
            match removal {
                Ok(()) => {
                    self.seen.remove(place);
                    removed += 1;
                    if removed <= MOST_TOLD {
                        let message = format!("{} belonged to no session and was removed", describe(workload));
                        core.tell(of_backend(&backend.name, Kind::OrphanRemoved, core.clock.now(), message)).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(backend = %backend.name, %error, "{} could not be removed", describe(workload));
                }
            }
        }
        for (count, kind, what) in [
            (found, Kind::OrphanFound, "belong to no session"),
            (removed, Kind::OrphanRemoved, "belonged to no session and were removed"),
        ] {
            if count > MOST_TOLD {
                let message = format!("{} more workloads {what}", count - MOST_TOLD);
                core.tell(of_backend(&backend.name, kind, core.clock.now(), message)).await;
            }
        }
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

fn describe(workload: &Workload) -> String {
    format!("the workload of session {}, incarnation {}", workload.session, workload.incarnation)
}
