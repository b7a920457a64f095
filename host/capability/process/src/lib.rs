//! Processes of this machine, as sessions. The Rust half of `wit/host/process.wit`; it knows nothing of Wasm.
//!
//! Everything that is known of a session's process lies in its run directory, `RUNS/SESSION/INCARNATION/`, which the
//! supervisor (`seawall-supervisor`) and this crate share; `seawall_supervisor::RunDir` says who writes what. So a
//! [`Process`] keeps nothing, and one made by a restarted daemon finds what the last one left.
//!
//! Where there is no control group to write to, a session's tree still ends with it. Only what left the session's own
//! session outlives a supervisor that is killed: nothing then says whose it was.
//!
//! Every call checks the stamp of the run directory: a backend meets its own sessions only.
//!
//! A request goes through `check` (granted? possible here? else refused by name), which writes down what is to run;
//! `runs` keeps that and tells the state of it by the lock and the exit record; the supervisor does the rest. It is
//! asked over its socket (`client`) for few things only: signals, killing, commands beside the program (`exec`), and to
//! pass on what is given to a command or the program itself (`keyboard`).

mod attach;
mod cgroups;
mod check;
mod client;
mod exec;
mod follow;
mod grant;
mod keyboard;
mod output;
mod pause;
mod process;
mod program;
mod readers;
mod runs;
mod stats;
mod tree;
mod users;
mod watch;

pub use grant::ProcessGrant;
#[doc(hidden)]
pub use output::output;
pub use process::{Process, Scope, SetupError};
pub use program::{HostInfo, Program, Rlimit};
