//! Very many calls of which one in ten is hostile, on one runtime and at the same time: the claim that a plugin costs
//! its call and nothing else, held for long enough that a leak of a few bytes a call would show.
//!
//! Every backend stands behind a [`Bulkhead`](seawall_backend::Bulkhead) whose breaker never opens, so that each hostile
//! call reaches its plugin. Every good call must succeed, every hostile one must end in the kind that it is known for,
//! and the memory of the process must come back to what it was after the first of them.
//!
//! [`cast`] has the plugins, [`drive`] makes the calls, [`tally`] counts them.

mod cast;
mod drive;
mod tally;

pub use drive::{Soaked, soak};
