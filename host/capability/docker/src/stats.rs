//! What uses a docker.

use seawall_backend::Error;
use seawall_model::{Key, Measurement};

use crate::Docker;

impl Docker {
    /// What each uses now; what does not run is left out.
    ///
    /// # Errors
    /// The engine cannot be asked.
    pub async fn stats(&self, keys: &[Key]) -> Result<Vec<Measurement>, Error> {
        let _ = keys;
        Err(Error::Unsupported("stats".to_owned()))
    }
}
