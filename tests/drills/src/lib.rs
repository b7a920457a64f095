//! Drills: real daemons, real processes and a real Docker Engine, with things going wrong at random, and afterwards the
//! question whether what is kept and what is there are the same. What the tests show one by one is shown here under
//! load and at instants that nobody chose.
//!
//! ```text
//!   load: clients that create, start, stop, remove        trouble: a kill, a hang, a full disk
//!            |  what was promised (ledger)                              |
//!            v                                                          v
//!         seawall serve  ------------ backends ------------  containers, processes, mock
//!            |                                                          |
//!            v                                                          v
//!      what is kept (store)  <------------- verdict ------------>  what is there (world)
//! ```
//!
//! [`stage`] has daemon, engine and everything that they make, and takes it down; [`load`] the clients; [`world`] looks
//! at what is there without asking the daemon; [`verdict`] counts what is lost, duplicated and orphaned. Each drill is a
//! file. A run is the same again with the same seed, as far as choices go: the machine's own timing is not replayed.

mod api;
mod clients;
mod crash;
mod disk;
mod engine;
mod load;
mod outside;
mod report;
mod run;
mod soak;
mod stage;
mod streams;
mod verdict;
mod vitals;
mod world;

pub use report::Report;
pub use run::{Drill, Options, run};
