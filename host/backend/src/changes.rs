//! What a bulkhead tells of itself: each change of its breaker, each quarantine, and that it began to refuse.
//!
//! A listener that falls behind is told that it missed some. The state now is not lost with them: it can be asked of the
//! [`Bulkhead`](crate::Bulkhead) at any time.

use seawall_model::SessionId;
use tokio::sync::broadcast;

use crate::breaker::BreakerStatus;
use crate::limit::{Full, Kind};
use crate::quarantine::Quarantined;

/// Something about a backend's bulkhead that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The breaker is in this state from now on.
    Breaker(BreakerStatus),
    /// A quarantine began.
    Quarantined(Quarantined),
    /// A function that was in quarantine for a session answered about it.
    Released {
        /// The function.
        function: &'static str,
        /// The session.
        session: SessionId,
    },
    /// It began to refuse for want of permits. Told again only after a minute without a refusal.
    Full {
        /// For what.
        kind: Kind,
        /// The first refusal.
        full: Full,
    },
}

/// Where changes are told. A clone is the same place.
#[derive(Clone, Debug)]
pub struct Changes(broadcast::Sender<Change>);

/// A listener writes each change to a disk; a burst of so many does not outrun it.
const KEPT: usize = 256;

impl Default for Changes {
    fn default() -> Self {
        Self(broadcast::channel(KEPT).0)
    }
}

impl Changes {
    /// Everything from now on. A subscriber that is 256 changes behind is told that it missed some.
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }

    pub(crate) fn tell(&self, change: Change) {
        // Nobody listening is no error.
        _ = self.0.send(change);
    }
}
