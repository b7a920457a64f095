//! Tests of the whole: a real store, a backend that does what the test says, and a clock that stands still while anybody
//! is at work.

mod adoption;
mod auto_remove;
mod backends;
mod bulkhead;
mod clock;
mod crash;
mod explained;
mod fake;
mod glass;
mod health;
mod house;
mod judged;
mod lies;
mod lifecycle;
mod lists;
mod lost;
mod once;
mod orphans;
mod outage;
mod pauses;
mod planning;
mod probe_kinds;
mod probes;
mod refusals;
mod restarts;
mod retention;
mod schedules;
mod signals;
mod stress;
mod usage;
mod watch;
pub(crate) mod writes;
