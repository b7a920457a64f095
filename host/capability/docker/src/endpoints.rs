//! Where it is reached: a docker.

use seawall_backend::Error;
use seawall_model::{Endpoint, Key};

use crate::Docker;

impl Docker {
    /// The ports that were published for it, and where; none if it does not run.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn endpoints(&self, key: &Key) -> Result<Vec<Endpoint>, Error> {
        let _ = key;
        Err(Error::Unsupported("endpoint".to_owned()))
    }
}
