//! What uses a process.

use seawall_backend::Error;
use seawall_model::{Key, Measurement};

use crate::Process;

impl Process {
    /// What each uses now; what does not run is left out.
    ///
    /// # Errors
    /// The engine cannot be asked.
    pub async fn stats(&self, keys: &[Key]) -> Result<Vec<Measurement>, Error> {
        let _ = keys;
        Err(Error::Unsupported("stats".to_owned()))
    }
}
