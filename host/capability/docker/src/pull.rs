//! Fetching images for a docker.

use seawall_backend::{Error, Preparation};

use crate::Docker;

impl Docker {
    /// Has the Engine fetch an image; with `missing`, only if it has none of that name.
    ///
    /// # Errors
    /// `Invalid` if it is no reference, `Unavailable`.
    pub async fn pull(&self, reference: &str, missing: bool) -> Result<Preparation, Error> {
        let _ = (reference, missing);
        Err(Error::Unsupported("images".to_owned()))
    }
}
