//! The store by its public interface, on real files.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod common;
mod journal;
mod once;
mod open;
mod sessions;
mod state;
mod writes;
