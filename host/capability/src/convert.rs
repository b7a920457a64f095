//! Between the words of `wit/host/types.wit` and those of `seawall-model`, in both directions and in this place only.
//!
//! [`to_guest`] cannot fail: the model is valid by construction. [`from_guest`] checks everything and gives a
//! [`Refusal`] that names the field: as an argument of a host function it becomes the guest's `invalid`, as an answer
//! of a plugin it becomes a fault.

pub mod from_guest;
pub mod to_guest;

/// A value of a guest that cannot be as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Refusal {
    /// Which one: `key.session`.
    pub field: String,
    /// What it must be.
    pub message: String,
}

impl Refusal {
    /// Names a field and what it must be.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// The most bytes that `status.handle` may have.
pub const LARGEST_HANDLE: usize = 4 << 10;

/// The most bytes of a cursor of a listing.
pub const LARGEST_CURSOR: usize = 4 << 10;

/// The most workloads on a page, and the most keys of a batch.
pub const LARGEST_BATCH: usize = 1000;

/// Where a text of a guest is cut before anyone is shown it.
pub const LONGEST_TEXT: usize = 4 << 10;
