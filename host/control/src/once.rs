//! Requests with a key: sent again, they make nothing again.
//!
//! The key is stored with the session that was made for it, in one commit. Requests with one key follow one another, so
//! that the second finds what the first made.

use std::hash::BuildHasher as _;

use seawall_model::{Session, SessionSpec};
use seawall_store::{Once, Write};
use tokio::sync::{Mutex, MutexGuard};

use crate::ControlError;
use crate::control::Control;

/// Locks, each of many keys.
pub(crate) struct Keys {
    locks: [Mutex<()>; 64],
    hasher: std::hash::RandomState,
}

impl Default for Keys {
    fn default() -> Self {
        Self { locks: std::array::from_fn(|_| Mutex::default()), hasher: std::hash::RandomState::new() }
    }
}

impl Keys {
    async fn lock(&self, key: &str) -> Option<MutexGuard<'_, ()>> {
        let at = self.hasher.hash_one(key) % 64;
        let lock = self.locks.get(usize::try_from(at).unwrap_or_default())?;
        Some(lock.lock().await)
    }
}

impl Control {
    /// [`Control::create`], but what was made for this key in the last day is given back instead, as it is now. `request`
    /// is a hash of what is asked for, `attended` as in [`Control::create_attended`].
    ///
    /// # Errors
    /// Those of [`Control::create`]; `KeyReused` if something else was asked for with the key; `Conflict` if what was made
    /// is gone.
    pub async fn create_once(
        &self,
        spec: SessionSpec,
        attended: bool,
        key: String,
        request: [u8; 32],
    ) -> Result<Session, ControlError> {
        self.request(|core| async move {
            let _one_at_a_time = core.keys.lock(&key).await;
            match core.store.once(&key, core.clock.now()).await.map_err(ControlError::Store)? {
                None => core.create(spec, Some((key, request)), attended).await,
                Some(Once { request: before, .. }) if before != request => Err(ControlError::KeyReused(key)),
                Some(Once { session, .. }) => {
                    let entry = core.sessions.get(&session);
                    entry.map(|entry| entry.with(|cell| cell.session())).ok_or_else(|| {
                        ControlError::Conflict(format!(
                            "session {session} was made for the key {key:?} and is gone: take another key to make another"
                        ))
                    })
                }
            }
        })
        .await
    }

    /// Forgets a key, since what was made for it was refused after all.
    ///
    /// # Errors
    /// `Store`, `ShuttingDown`.
    pub async fn forget_key(&self, key: String) -> Result<(), ControlError> {
        self.request(|core| async move { core.write(vec![Write::ForgetOnce(key)]).await.map_err(ControlError::Store) })
            .await
    }
}
