//! Everything that takes bytes from outside, each as a function of a byte string that panics if what came out is not
//! as it must be.
//!
//! Two things run these targets. `cargo test` replays the corpus and then some hundred changes of it, chosen at random:
//! that needs nothing, takes seconds, and is part of every test run. `cargo xtask fuzz` builds them so that they count
//! where the program goes, and lets libFuzzer look for inputs that go elsewhere; what it finds is added to `corpus/`.
//!
//! A target is made once and then given one input after the other: whatever it keeps between two (a runtime, a
//! daemon's store) must not depend on what came before. Inputs that broke something are kept by name in
//! `corpus/TARGET/`, and what was wrong has a test of its own where it was put right.
//!
//! Deliberately absent: the engine. Nothing here knows libFuzzer, and nothing that it needs is in the normal build.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fuzz target says that something is wrong by failing"
)]

mod pieces;
mod targets;

/// Takes one input.
pub type Run = Box<dyn FnMut(&[u8])>;

/// Something that takes bytes from outside.
pub struct Target {
    /// Its name on the command line and in `corpus/`.
    pub name: &'static str,
    /// Inputs longer than this say nothing more.
    pub longest: usize,
    /// How many changed inputs a plain test run tries: as many as take a second or two.
    pub tries: u32,
    /// Inputs to begin with that are made rather than kept.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Makes ready.
    pub make: fn() -> Run,
}

/// All of them.
pub const TARGETS: [Target; 14] = [
    targets::config::TARGET,
    targets::spec::TARGET,
    targets::schema::TARGET,
    targets::api::TARGET,
    targets::stream::TARGET,
    targets::units::TARGET,
    targets::loader::TARGET,
    targets::describe::TARGET,
    targets::answers::TARGET,
    targets::cache::TARGET,
    targets::engine::TARGET,
    targets::protocol::TARGET,
    targets::records::TARGET,
    targets::log::TARGET,
];

/// The one of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
