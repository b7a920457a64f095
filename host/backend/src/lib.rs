//! The one interface between the host and whatever runs sessions: the trait [`ExecutionBackend`], the errors that its
//! calls end with, and the streams it hands over.
//!
//! The trait mirrors `wit/backend`; the contract of each function stands there. A Wasm component implements it through
//! `seawall-runtime`, and tests implement it directly.
//!
//! [`Bulkhead`] goes round any implementation and bounds what it can cost: one mechanism a file, and [`stack`] alone
//! knows their order.
//!
//! Deliberately absent: wasmtime, Docker, the store. Whoever drives backends needs none of them.

pub mod breaker;
mod ceiling;
pub mod changes;
mod class;
mod deadline;
mod error;
pub mod limit;
pub mod observer;
pub mod quarantine;
pub mod redact;
pub mod retry;
pub mod stack;
mod stream;
pub mod trace;
mod traits;

pub use class::{Class, Deadlines};
pub use deadline::within;
pub use error::{Error, Fault, FaultKind};
pub use stack::{Bulkhead, BulkheadConfig, BulkheadStatus};
pub use stream::{
    Attachment, ExecEvent, ExecEvents, Execution, Holding, Input, LogChunk, LogStream, NoInput, Preparation, Progress,
    Source, Wake, Wakes,
};
pub use traits::{ExecutionBackend, Info, Interface};
