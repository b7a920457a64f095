//! Signals by number.

use rustix::process::Signal;

/// The signal of this Linux number. `None` for what a supervisor cannot send: 0, real-time signals and beyond.
pub fn from_number(number: u8) -> Option<Signal> {
    Signal::from_named_raw(i32::from(number))
}
