//! How a host function ends other than well.

use seawall_backend::Error;
use wasmtime::component::ResourceTableError;

use crate::Breach;
use crate::bindings::{state, types};
use crate::context::Context;
use crate::convert::{Refusal, to_guest};

/// How a host function ends other than well: with an answer to the guest, or with a trap.
#[derive(Debug)]
pub enum HostError {
    /// The guest gets this as the function's error.
    Answer(Error),
    /// The call ends here.
    Trap(wasmtime::Error),
}

impl HostError {
    /// For a function that has no error to answer with.
    pub(crate) fn into_trap(self) -> wasmtime::Error {
        match self {
            Self::Answer(error) => wasmtime::Error::msg(error),
            Self::Trap(trap) => trap,
        }
    }
}

impl From<Error> for HostError {
    fn from(error: Error) -> Self {
        match error {
            // No engine answers with a fault; a capability that does has a defect, and the guest is not at fault.
            Error::Fault(fault) => Self::Trap(fault.into()),
            answer => Self::Answer(answer),
        }
    }
}

impl From<Breach> for HostError {
    fn from(breach: Breach) -> Self {
        Self::Trap(breach.into())
    }
}

impl From<Refusal> for HostError {
    fn from(refusal: Refusal) -> Self {
        Self::Answer(Error::invalid(refusal.field, refusal.message))
    }
}

impl From<ResourceTableError> for HostError {
    fn from(error: ResourceTableError) -> Self {
        match error {
            ResourceTableError::Full => Breach::Resources.into(),
            other => Self::Trap(other.into()),
        }
    }
}

/// The same for `state`, which has errors of its own.
#[derive(Debug)]
pub enum StateFailure {
    /// The guest gets this as the function's error.
    Answer(state::StateError),
    /// The call ends here.
    Trap(wasmtime::Error),
}

impl From<Breach> for StateFailure {
    fn from(breach: Breach) -> Self {
        Self::Trap(breach.into())
    }
}

impl types::Host for Context {
    fn convert_error(&mut self, error: HostError) -> wasmtime::Result<types::Error> {
        match error {
            HostError::Answer(answer) => Ok(to_guest::error(answer)),
            HostError::Trap(trap) => Err(trap),
        }
    }
}
