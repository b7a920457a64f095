//! A key as it crosses into a guest: borrowed from the model, since a batch has a thousand of them and each would be two
//! allocations and two copies for nothing.

use seawall_model::Key;
use wasmtime::component::{ComponentType, Lower};

/// `key` of `wit/host/types.wit`.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct BorrowedKey<'a> {
    session: &'a str,
    incarnation: u64,
    handle: Option<&'a [u8]>,
}

impl<'a> From<&'a Key> for BorrowedKey<'a> {
    fn from(key: &'a Key) -> Self {
        Self { session: key.session.as_str(), incarnation: key.incarnation, handle: key.handle.as_deref() }
    }
}
