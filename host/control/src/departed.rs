//! Sessions that removed themselves, as they were at their end: for those who ask a moment too late how they ended. In
//! memory, and only the last few.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use seawall_model::{Session, SessionId};

use crate::control::Control;

/// More than can end between a session's end and the question of whoever waits for it.
const KEPT: usize = 64;

/// The last of them, oldest first.
#[derive(Default)]
pub(crate) struct Departed(Mutex<VecDeque<Session>>);

impl Departed {
    fn with<T>(&self, look: impl FnOnce(&mut VecDeque<Session>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn put(&self, session: Session) {
        self.with(|all| {
            if all.len() >= KEPT {
                all.pop_front();
            }
            all.push_back(session);
        });
    }
}

impl Control {
    /// A session that has removed itself of late, as it was at its end.
    pub fn departed(&self, id: &SessionId) -> Option<Session> {
        self.core.departed.with(|all| all.iter().find(|session| session.id == *id).cloned())
    }
}
