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

mod arena;
mod calls;
#[expect(dead_code, reason = "each test binary uses another part")]
#[path = "../guest/mod.rs"]
mod guest;
