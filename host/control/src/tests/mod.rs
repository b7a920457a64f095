//! Tests of the whole: a real store, a backend that does what the test says, and a clock that stands still while anybody
//! is at work.

mod fake;
mod house;
mod lifecycle;
