//! What a plugin may ask the host for: the interfaces of `wit/host`, implemented on native capabilities.
//!
//! Three things, in the order in which they come to be:
//!
//! - [`Grants`]: what the operator allows a backend, as configuration says it.
//! - [`Granted`]: the same, ready to use; one for each loaded backend, shared by all its calls.
//! - [`Context`]: what one call has; it lives in the call's store and ends with it. It counts what the call takes from
//!   the host ([`Budget`]).
//!
//! Two kinds of failure, never mixed: what the guest may answer for is an error of the WIT function; what breaks a
//! bound or is a defect of the host is a trap that carries a typed reason ([`Breach`]).
//!
//! What it owns: no task. What it deliberately does not know: which functions a plugin exports, how an instance is made.

pub mod bindings;
mod budget;
mod clock;
mod config;
mod context;
pub mod convert;
mod docker;
mod error;
mod grants;
mod link;
mod log;
mod process;
mod state;
mod streams;
mod wasi;
mod weight;

pub use budget::{Breach, Budget};
pub use context::{Context, Phase};
pub use error::{HostError, StateFailure};
pub use grants::{GrantError, Granted, Grants, Services, StateGrant};
pub use link::{HOST_PACKAGE, Import, Offer, add_to_linker, offers};
pub use seawall_docker::Endpoint as EngineAddress;
pub use streams::{ByteSink, ByteStream, Duplex, Execution, Prepared, WakeSource};
