//! Freezing a container, and letting it run on.

use bollard::errors::Error as Bollard;
use seawall_backend::Error;
use seawall_model::{Key, State};

use crate::connection::Client;
use crate::{Docker, Inner, fault, status};

impl Docker {
    /// Freezes it; one that is frozen is left alone.
    ///
    /// # Errors
    /// `Conflict` if it does not run.
    pub async fn pause(&self, key: &Key) -> Result<(), Error> {
        self.inner.freeze(key, State::Paused).await
    }

    /// Lets it run on; one that runs is left alone.
    ///
    /// # Errors
    /// `Conflict` if it has ended or never ran.
    pub async fn unpause(&self, key: &Key) -> Result<(), Error> {
        self.inner.freeze(key, State::Running).await
    }
}

impl Inner {
    /// Sees to it that it is `wanted`: paused or running.
    async fn freeze(&self, key: &Key, wanted: State) -> Result<(), Error> {
        let client = self.connection.client().await?;
        let there = self.own(&client, key).await?.ok_or_else(|| self.missing(key))?;
        let state = status::raw_state(&there);
        if state == wanted {
            return Ok(());
        }
        let doing = if wanted == State::Paused { "pause" } else { "unpause" };
        if !matches!(state, State::Running | State::Paused) {
            return Err(Error::conflict(format!(
                "session {} does not run, and there is nothing to {doing}",
                key.session
            )));
        }
        let id = there.id.unwrap_or_default();
        let Err(error) = ask(&client, &id, wanted).await else { return Ok(()) };
        // Somebody else may have been quicker.
        if fault::status(&error) == Some(409)
            && let Some(there) = self.own(&client, key).await?
            && status::raw_state(&there) == wanted
        {
            return Ok(());
        }
        Err(self.connection.failed(&client, &format!("{doing} the container of session {}", key.session), &error))
    }
}

async fn ask(client: &Client, id: &str, wanted: State) -> Result<(), Bollard> {
    match wanted {
        State::Paused => client.api.pause_container(id).await,
        _ => client.api.unpause_container(id).await,
    }
}
