//! Guests that attack, one test each. Every attack is made in the [`arena`], which asserts what holds for all of them:
//! a neighbour's calls succeed throughout, and what the attack took comes back.
//!
//! A test says what the guest does and which answer the host must give, and is about ten lines.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod answers;
mod arena;
mod debug;
mod endless;
mod engine;
#[path = "../guest/mod.rs"]
mod guest;
mod host_calls;
mod lifting;
mod limits;
mod log;
mod reallocation;
mod reentrance;
mod secrets;
mod space;
mod state;
mod streams;
mod told;
