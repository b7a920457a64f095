//! Execution backends that are WebAssembly components.
//!
//! A [`Runtime`] owns the engine. [`Runtime::load`] turns the bytes of a component into a [`WasmBackend`], which is an
//! `ExecutionBackend` like any other: whoever calls it never sees wasmtime.
//!
//! ```text
//!   bytes --loader--> compiled (child, or cache) --> linked with what is granted --> tried once (describe) --> WasmBackend
//!
//!   a call:  fresh store, limits set --> fresh instance --> one function --> answer checked --> store dropped
//! ```
//!
//! What holds for every call: it has a fresh instance in a fresh store, so nothing of an earlier call is left; every
//! bound of [`Limits`] is set before the first instruction of the guest runs; a deadline covers all of it, host calls
//! included; and whatever the guest does ends in an answer or in one typed `Fault`.
//!
//! Guest code runs in turns that backends share fairly, whatever each of them does: see `cpu.rs`.
//!
//! What it owns: one thread, which drives the epochs and is joined by [`Runtime::shutdown`]. Calls run on the task that
//! makes them; dropping a call's future ends the call.
//!
//! Deliberately absent: a bound on calls at one time, breaker, retry (those wrap any backend), and what the capabilities do.

mod answer;
mod backend;
mod bare;
mod bindings;
mod cache;
mod call;
mod code;
mod compiler;
mod cpu;
mod engine;
mod exports;
mod fault;
mod inspect;
mod key;
mod limits;
mod loader;
mod secure;
mod spec;
mod ticker;

pub use backend::WasmBackend;
pub use compiler::{CompileConfig, CompileError, Compiler, compile_standard_input};
pub use engine::{Pool, PoolUse, Runtime, RuntimeConfig, RuntimeError, Slots};
pub use exports::BACKEND_PACKAGE;
pub use inspect::{InspectedImport, PluginInspection};
pub use limits::{ClassOverrides, InvalidLimits, Limits, LimitsByClass, Overrides};
pub use loader::{LoadError, Plugin};

// What whoever loads a plugin needs, so that nobody else needs the crate of the capabilities.
pub use seawall_capability::{EngineAddress, GrantError, Granted, Grants, Services, StateGrant};
