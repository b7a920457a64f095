//! Somebody at the keyboard of a docker.

use seawall_backend::{Attachment, Error, Input};
use seawall_model::{AttachOptions, Key};

use crate::Docker;

impl Docker {
    /// Its terminal, or its output and standard input, from now on.
    ///
    /// # Errors
    /// `Conflict` if it does not run, or its input was not kept open and is asked for.
    pub async fn attach(&self, key: &Key, options: &AttachOptions) -> Result<Attachment, Error> {
        let _ = (key, options);
        Err(Error::Unsupported("attach".to_owned()))
    }

    /// Its standard input.
    ///
    /// # Errors
    /// `Conflict` if it does not run or its input was not kept open.
    pub async fn input(&self, key: &Key) -> Result<Box<dyn Input>, Error> {
        let _ = key;
        Err(Error::Unsupported("input".to_owned()))
    }
}
