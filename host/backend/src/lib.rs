//! The one interface between the host and whatever runs sessions: the trait [`ExecutionBackend`], the errors that its
//! calls end with, and the streams it hands over.
//!
//! The trait mirrors `wit/backend`; the contract of each function stands there. A Wasm component implements it through
//! `seawall-runtime`, and tests implement it directly.
//!
//! Deliberately absent: wasmtime, Docker, the store. Whoever drives backends needs none of them.

mod class;
mod error;
mod stream;
mod traits;

pub use class::{Class, Deadlines};
pub use error::{Error, Fault, FaultKind};
pub use stream::{LogChunk, LogStream, Source};
pub use traits::{ExecutionBackend, Info, Interface};
