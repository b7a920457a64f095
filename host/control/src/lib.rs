//! The control plane: keeps what is wanted, looks at what is, and does something about the difference.
//!
//! ```text
//!   Control (handle)            per backend                      per session with work
//!   create start stop kill ...  sweep: inspect in batches,       worker: plan, store the intent,
//!        |                             confirm by list                   act, settle
//!        |  desired state       health: check                            |
//!        v                             | observations                    v
//!   +--------------------------- sessions in memory ---------------------------+---> store
//! ```
//!
//! *Level-triggered.* Nothing depends on having seen an event: the planner looks at where a session is and says
//! the next step, and saying it again after a crash is harmless. *Write ahead.* The store knows of an act before the
//! backend is asked. *Unknown is not gone.* An error from a backend changes nothing but what is shown; a workload that
//! one answer leaves out is only missing until a complete listing that began later confirms it.
//!
//! Tasks: one sweep, one check, one prober and one listener to the bulkhead for each backend, and one that watches where
//! it has a watch; backends may come and go ([`Control::change_backends`]); one that prunes, where that is configured; one worker for each session that has work and none for an idle one. All are joined by
//! [`Control::shutdown`].
//!
//! Deliberately absent: wasmtime, Docker, HTTP. Backends are reached through
//! [`ExecutionBackend`](seawall_backend::ExecutionBackend) alone, and each from behind its
//! [`Bulkhead`](seawall_backend::Bulkhead): there is no way to hand over one without.

mod backend;
mod backends;
mod backoff;
mod bulkhead;
mod caller;
mod change;
mod clock;
mod commands;
mod config;
mod control;
mod core;
mod counts;
mod departed;
mod draft;
mod env_files;
mod error;
mod events;
mod gc;
mod glass;
mod hands;
mod health;
mod hints;
mod kept_logs;
mod kill;
mod listing;
mod look;
mod lost;
mod observe;
mod once;
mod orphans;
mod pace;
mod pause;
mod plan;
mod policy;
mod probe;
mod probe_run;
mod prober;
mod reader;
mod restart;
mod retention;
mod secrets;
mod settle;
mod shutdown;
mod state;
mod summary;
mod sweep;
#[cfg(test)]
mod tests;
mod turns;
mod usage;
mod watch;
mod why;
mod worker;

pub use backends::BackendChange;
pub use caller::{acting, answering, expecting, log_later};
pub use config::{Backoff, CheckConfig, ControlConfig};
pub use control::Control;
pub use counts::EventCount;
pub use error::{ControlError, ShutdownError, StartError};
pub use events::EVENT_KINDS;
pub use gc::{Cleanup, Fate, Gc, Orphan};
pub use health::{BackendHealth, BackendStatus, Condition};
pub use kept_logs::KeptLogsConfig;
pub use look::{Look, LookKind};
pub use lost::Lost;
pub use probe::Role;
pub use retention::RetentionConfig;
pub use shutdown::Shutdown;
pub use state::Glance;
pub use summary::{BackendCondition, Overview, Phase, Summary};
pub use usage::{Sample, SessionUsage, Unmeasured};
pub use watch::{WatchState, WatchStatus};
pub use why::{KnownBackend, LastError, LastProbe, Observed, OpenAct, ProbeResult, Restart, Retry, Why, WhyBackend};
