//! The backend's persistent map, as far as most plugins need it. [`raw_state`](crate::raw_state) has all of it.

use crate::raw_state::{self as raw, Change, Expectation, StateError};
use crate::{Error, Result};

pub use raw::{Entry, Versioned};

/// How often [`update`] begins again when another call was quicker.
const TRIES: u32 = 16;

/// What one key holds.
///
/// # Errors
/// If the store could not answer.
pub fn get(key: &str) -> Result<Option<Versioned>> {
    Ok(raw::get(&[key.to_owned()])?.pop().flatten())
}

/// What these keys hold, in the order asked, in one question.
///
/// # Errors
/// If the store could not answer.
pub fn get_many(keys: &[String]) -> Result<Vec<Option<Versioned>>> {
    Ok(raw::get(keys)?)
}

/// Entries whose key begins with `prefix` and comes after `after`, in key order; at most 1000.
///
/// # Errors
/// If the store could not answer.
pub fn scan(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>> {
    Ok(raw::scan(prefix, after, limit)?)
}

/// Reads a key, lets `change` make the new value of it, and writes that unless the key changed meanwhile; then it begins
/// again. `change` may be called several times. It answers what is to be written, if anything, and the result.
///
/// # Errors
/// What `change` answers; `quota` and the like of the store; `conflict` if others were quicker too often.
pub fn update<T>(key: &str, mut change: impl FnMut(Option<&[u8]>) -> Result<(Write, T)>) -> Result<T> {
    for _ in 0..TRIES {
        let before = get(key)?;
        let (write, result) = change(before.as_ref().map(|versioned| versioned.value.as_slice()))?;
        let value = match write {
            Write::Nothing => return Ok(result),
            Write::Value(value) => Some(value),
            Write::Delete => None,
        };
        let expect = match before {
            Some(versioned) => Expectation::Version(versioned.version),
            None => Expectation::Absent,
        };
        match raw::commit(&[Change { key: key.to_owned(), expect, value }]) {
            Ok(()) => return Ok(result),
            Err(StateError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::conflict(format!("{key:?} is changed by others all the time: try again")))
}

/// What [`update`] is to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Leave the key as it is.
    Nothing,
    /// This value.
    Value(Vec<u8>),
    /// Take the key away.
    Delete,
}
