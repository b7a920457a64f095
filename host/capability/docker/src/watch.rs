//! News of docker.

use seawall_backend::{Error, Wakes};

use crate::Docker;

impl Docker {
    /// News of changes.
    ///
    /// # Errors
    /// The engine cannot be asked.
    pub async fn watch(&self) -> Result<Wakes, Error> {
        Err(Error::Unsupported("watch".to_owned()))
    }
}
