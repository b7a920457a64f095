//! What is measured: the same two calls, by whatever road.

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use seawall_model::Key;

/// A road to the logic. Every one takes the host's own keys, and gives how many sessions were found, with the answer
/// decoded and whatever the road itself checks of it checked.
#[async_trait]
pub(crate) trait Peer: Send + Sync {
    /// Is the engine there?
    async fn check(&self) -> Result<()>;

    /// The status of many.
    async fn inspect(&self, keys: &[Key]) -> Result<usize>;
}

/// One of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Nothing goes in, five short texts come back.
    Check,
    /// So many keys with handles go in, as many statuses with handles come back.
    Inspect(usize),
}

impl Call {
    /// All that is measured.
    pub(crate) const ALL: [Self; 3] = [Self::Check, Self::Inspect(1), Self::Inspect(1_000)];

    /// For the table.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Check => "check".to_owned(),
            Self::Inspect(sessions) => format!("inspect of {sessions}"),
        }
    }

    /// Makes it.
    ///
    /// # Errors
    /// When the road fails, or not all that were asked about were found.
    pub(crate) async fn make(self, peer: &dyn Peer, keys: &[Key]) -> Result<()> {
        match self {
            Self::Check => peer.check().await,
            Self::Inspect(sessions) => {
                let asked = keys.get(..sessions).context("more keys")?;
                let found = peer.inspect(asked).await?;
                ensure!(found == sessions, "{found} of {sessions} sessions were found");
                Ok(())
            }
        }
    }
}

/// Keys as the host has them: an id, an incarnation, the 64 bytes that the backend gave.
///
/// # Errors
/// None; the ids are valid.
pub(crate) fn keys(count: usize) -> Result<Vec<Key>> {
    (0..count)
        .map(|number| {
            let session = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let handle = Some(format!("{number:064x}").into_bytes());
            Ok(Key { session: session.parse().context("a session id")?, incarnation: 1, handle })
        })
        .collect()
}

/// The last of them asks for a call that is held in flight.
pub(crate) fn held(mut keys: Vec<Key>) -> Vec<Key> {
    if let Some(last) = keys.last_mut() {
        last.incarnation = peers_logic::HOLD;
    }
    keys
}
