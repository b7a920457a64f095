//! News of process.

use seawall_backend::{Error, Wakes};

use crate::Process;

impl Process {
    /// News of changes.
    ///
    /// # Errors
    /// The engine cannot be asked.
    pub async fn watch(&self) -> Result<Wakes, Error> {
        Err(Error::Unsupported("watch".to_owned()))
    }
}
