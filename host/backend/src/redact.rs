//! Takes secrets out of what a backend says went wrong (A9), before breaker, quarantine or caller keep its words.
//!
//! Whoever knows the sessions lends their secrets, once, and is asked for them only when a call failed.

use std::fmt;
use std::sync::OnceLock;

use seawall_model::{Key, Redactor, SessionId};

use crate::Error;

/// What a call is about, and so whose fault a fault may be, and whose secrets its words may repeat.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// The backend as a whole.
    Backend,
    /// One session.
    Session(&'a SessionId),
    /// One of many sessions: halving the batch will tell which.
    Batch(&'a [Key]),
}

/// Knows the sessions of a backend.
pub trait Secrets: Send + Sync {
    /// What an error of a call about these is not to repeat, if there is anything.
    fn of(&self, about: About<'_>) -> Option<Redactor>;
}

/// The layer. Until it has secrets it changes nothing.
#[derive(Default)]
pub struct Redact(OnceLock<Box<dyn Secrets>>);

impl Redact {
    /// Lends the secrets; who was first stays.
    pub fn lend(&self, secrets: impl Secrets + 'static) {
        let _ = self.0.set(Box::new(secrets));
    }

    pub(crate) fn error(&self, about: About<'_>, error: Error) -> Error {
        match self.0.get().and_then(|secrets| secrets.of(about)) {
            Some(secrets) => error.map_texts(|text| secrets.clean(text)),
            None => error,
        }
    }
}

impl fmt::Debug for Redact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redact").field(&self.0.get().is_some()).finish()
    }
}
