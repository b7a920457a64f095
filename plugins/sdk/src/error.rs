//! Making errors: one line each, and every problem of a spec at once.

use crate::raw_state::StateError;
use crate::{Error, Key, Problem, Trouble};

impl Error {
    /// One field that cannot be as it is. `field` is the path in the session spec: `resources.memory`.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Problem { field: field.into(), message: message.into() }])
    }

    /// The engine cannot be reached; no hint when to try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable(Trouble { message: message.into(), retry_after: None })
    }

    /// Something is in the way.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict(Trouble { message: message.into(), retry_after: None })
    }

    /// There is no workload of this key.
    pub fn no_workload(key: &Key) -> Self {
        Self::NotFound(format!("no workload of session {}, incarnation {}", key.session, key.incarnation))
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Conflict(key) => Self::conflict(format!("{key:?} was changed by another call meanwhile")),
            StateError::Quota(message) => Self::Exhausted(Trouble { message, retry_after: None }),
            StateError::Invalid(message) => Self::Other(message),
            StateError::Unavailable(message) => Self::unavailable(message),
        }
    }
}

/// Collects what is wrong with a spec, so that a user is told all of it at once.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Nothing wrong so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem of `field`.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { field: field.into(), message: message.into() });
    }

    /// Adds a problem of `field` if it was asked for.
    pub fn refuse_if(&mut self, asked: bool, field: &str, message: &str) {
        if asked {
            self.add(field, message);
        }
    }

    /// The fields at fault, in the order they were added.
    pub fn fields(&self) -> Vec<&str> {
        self.0.iter().map(|problem| problem.field.as_str()).collect()
    }

    /// Nothing wrong?
    ///
    /// # Errors
    /// `invalid` with every problem.
    pub fn finish(self) -> crate::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }
}
