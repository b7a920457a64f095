//! Plain data that every part of Seawall agrees on: names, what a session should be ([`SessionSpec`]), what an engine
//! says of a workload ([`Status`]), and what a user is shown ([`Session`]).
//!
//! No async, no I/O, no clock: whatever needs the time is given it.

mod exit;
mod health;
mod id;
mod redact;
mod redactor;
mod restart;
#[cfg(feature = "schema")]
pub mod schema;
mod session;
mod signal;
mod spec;
mod status;
pub mod table;
mod text;
mod trace;
mod units;
mod usage;

pub use exit::Exit;
pub use health::{ExecCheck, HealthCheck, HealthCommand, HttpCheck, Probe, ProbeCheck, Probes, TcpCheck, address};
pub use id::{BackendName, Incarnation, InvalidName, SessionId, SessionName, StoreId};
pub use redact::Secret;
pub use redactor::Redactor;
pub use restart::{RestartBackoff, RestartBudget, RestartPolicy};
pub use session::{Desired, Session, SessionState};
pub use signal::{InvalidSignal, Signal};
pub use spec::{
    Attachment, InvalidSpec, LogLimits, Mount, MountSource, Network, Port, Problem, Protocol, Resources, SessionSpec,
    Ulimit,
};
pub use status::{
    AttachOptions, CheckResult, CommandEnd, ExecOptions, Found, Health, Inspection, Key, LogOptions, Page, Report,
    State, Status, TerminalSize, Unknown, Workload,
};
pub use text::{is_deceptive, one_line};
pub use trace::TraceId;
pub use units::{Cpus, Size, Timestamp};
pub use usage::{Endpoint, Measurement, Transfer, Usage};
