//! Freezing a process.

use seawall_backend::Error;
use seawall_model::Key;

use crate::Process;

impl Process {
    /// Freezes it; one that is frozen is left alone.
    ///
    /// # Errors
    /// `Conflict` if it does not run.
    pub async fn pause(&self, key: &Key) -> Result<(), Error> {
        let _ = key;
        Err(Error::Unsupported("pause".to_owned()))
    }

    /// Lets it run on; one that runs is left alone.
    ///
    /// # Errors
    /// `Conflict` if it has ended or never ran.
    pub async fn unpause(&self, key: &Key) -> Result<(), Error> {
        let _ = key;
        Err(Error::Unsupported("pause".to_owned()))
    }
}
