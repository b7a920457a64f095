//! Bearer tokens: made here, known again here, and kept in the store without their secrets.
//!
//! ```text
//!   swl_ID_SECRET     ID: 16 digits, in every list and log line     SECRET: 256 random bits as 64 digits, kept nowhere
//! ```
//!
//! All of them are in memory: a request is let in or refused without the store. The store is asked first when one is made
//! or revoked, so that none that is answered for is lost and none that is revoked comes back.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use seawall_model::{Secret, Timestamp};
use seawall_store::{Error, Scope, Store, Token, Write};
use tokio::sync::Mutex;

/// Every token begins so: scanners for secrets that were left lying about find it.
const PREFIX: &str = "swl_";
/// What was used is written down no more often than this.
const USED_EVERY: Duration = Duration::from_secs(60);
/// More tokens than this are a mistake.
const MOST: usize = 1000;
/// In bytes.
const LONGEST_NAME: usize = 64;

/// Every token. Clones are the same.
#[derive(Clone)]
pub(crate) struct Tokens {
    store: Store,
    all: Arc<RwLock<BTreeMap<String, Token>>>,
    /// Changes follow one another.
    changing: Arc<Mutex<()>>,
}

/// Why there is no such token now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// Another one has the name.
    #[error("there is a token {0:?} already: revoke it, or take another name")]
    NameTaken(String),
    /// It cannot be called so.
    #[error("a token's name has 1 to {LONGEST_NAME} characters out of a-z, A-Z, 0-9, `.`, `_` and `-`: not {0:?}")]
    BadName(String),
    /// It would never be good.
    #[error("{0} is over already")]
    Over(Timestamp),
    /// There are too many.
    #[error("there are {MOST} tokens already: revoke some")]
    TooMany,
    /// None has that name or id.
    #[error("there is no token {0:?}: `seawall token ls` lists them")]
    Unknown(String),
    /// The store failed.
    #[error("the tokens cannot be kept")]
    Store(#[source] Error),
}

/// Why a token is not good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is none, or was revoked.
    Unknown,
    /// It was good until then.
    Expired {
        /// What it was called.
        name: String,
        /// When it ceased to be good.
        at: Timestamp,
    },
}

impl Tokens {
    /// Those that the store has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn load(store: Store) -> Result<Self, Error> {
        let all = store.tokens().await?.into_iter().map(|token| (token.id.clone(), token)).collect();
        Ok(Self { store, all: Arc::new(RwLock::new(all)), changing: Arc::default() })
    }

    /// Every token, by name.
    pub(crate) fn list(&self) -> Vec<Token> {
        let mut all: Vec<Token> = self.read(|all| all.values().cloned().collect());
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Makes one, and gives it with what its bearer sends: the only time that anybody sees it.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub(crate) async fn create(
        &self,
        name: String,
        scope: Scope,
        expires_at: Option<Timestamp>,
    ) -> Result<(Token, Secret), TokenError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(TokenError::BadName(name.chars().take(LONGEST_NAME).collect()));
        }
        let created_at = Timestamp::now();
        if let Some(at) = expires_at.filter(|at| *at <= created_at) {
            return Err(TokenError::Over(at));
        }
        let _one_at_a_time = self.changing.lock().await;
        let taken = self.read(|all| all.len() >= MOST || all.values().any(|token| token.name == name));
        if taken {
            let full = self.read(BTreeMap::len) >= MOST;
            return Err(if full { TokenError::TooMany } else { TokenError::NameTaken(name) });
        }
        let id = format!("{:016x}", rand::random::<u64>());
        let secret = blake3::Hash::from_bytes(rand::random()).to_hex();
        let hash = *blake3::hash(secret.as_bytes()).as_bytes();
        let token = Token { id, name, hash, scope, created_at, expires_at, used_at: None };
        self.store.write(vec![Write::PutToken(token.clone())]).await.map_err(|error| match error {
            Error::TokenTaken(name) => TokenError::NameTaken(name),
            other => TokenError::Store(other),
        })?;
        self.write(|all| all.insert(token.id.clone(), token.clone()));
        let text = format!("{PREFIX}{}_{}", token.id, secret.as_str());
        Ok((token, Secret::new(text)))
    }

    /// From now on nobody is let in with it.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub(crate) async fn revoke(&self, name_or_id: &str) -> Result<Token, TokenError> {
        let _one_at_a_time = self.changing.lock().await;
        let found = self.read(|all| {
            let by_name = all.values().find(|token| token.name == name_or_id);
            by_name.or_else(|| all.get(name_or_id)).cloned()
        });
        let token = found.ok_or_else(|| TokenError::Unknown(name_or_id.to_owned()))?;
        let deleted = self.store.write(vec![Write::DeleteToken(token.id.clone())]).await;
        deleted.map_err(TokenError::Store)?;
        self.write(|all| all.remove(&token.id));
        Ok(token)
    }

    /// Whose token this is, if it is one and still good.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub(crate) async fn admit(&self, text: &str) -> Result<Token, Refusal> {
        let now = Timestamp::now();
        let token = self.known(text).ok_or(Refusal::Unknown)?;
        if let Some(at) = token.expires_at.filter(|at| *at <= now) {
            return Err(Refusal::Expired { name: token.name, at });
        }
        if token.used_at.is_none_or(|used| now.since(used) >= USED_EVERY) {
            self.used(&token.id, now).await;
        }
        Ok(token)
    }

    fn known(&self, text: &str) -> Option<Token> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let token = self.read(|all| all.get(id).cloned())?;
        // Hashes are compared in a time that does not depend on what is in them.
        (blake3::hash(secret.as_bytes()) == blake3::Hash::from_bytes(token.hash)).then_some(token)
    }

    async fn used(&self, id: &str, now: Timestamp) {
        self.write(|all| {
            if let Some(token) = all.get_mut(id) {
                token.used_at = Some(now);
            }
        });
        let write = Write::UseToken { id: id.to_owned(), at: now };
        if let Err(error) = self.store.write(vec![write]).await {
            tracing::warn!(token = id, %error, "when a token was used could not be written down");
        }
    }

    /// As if it had been good until then.
    #[cfg(test)]
    pub(crate) fn end(&self, id: &str, at: Timestamp) {
        self.write(|all| all.get_mut(id).unwrap().expires_at = Some(at));
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<String, Token>) -> T) -> T {
        look(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Token>) -> T) -> T {
        change(&mut self.all.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tokens(dir: &std::path::Path) -> (Store, Tokens) {
        let store = Store::open(dir).await.unwrap();
        (store.clone(), Tokens::load(store).await.unwrap())
    }

    #[tokio::test]
    async fn a_token_is_good_until_it_is_revoked_also_for_the_next_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let (store, all) = tokens(dir.path()).await;
        let (token, secret) = all.create("ci".to_owned(), Scope::Write, None).await.unwrap();
        let (_, other) = all.create("dashboard".to_owned(), Scope::Read, None).await.unwrap();
        assert_ne!(secret.reveal(), other.reveal());
        let admitted = all.admit(secret.reveal()).await.unwrap();
        assert_eq!((admitted.name.as_str(), admitted.scope), ("ci", Scope::Write));
        store.close().await;
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let kept = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            let part = &secret.reveal().as_bytes()[secret.reveal().len() - 16..];
            assert!(!kept.windows(16).any(|window| window == part), "the secret is in {}", path.display());
        }

        let (store, all) = tokens(dir.path()).await;
        assert_eq!(all.list().iter().map(|token| token.name.as_str()).collect::<Vec<_>>(), ["ci", "dashboard"]);
        assert!(all.list()[0].used_at.is_some() && all.list()[1].used_at.is_none());
        all.admit(secret.reveal()).await.unwrap();
        assert_eq!(all.revoke("ci").await.unwrap().id, token.id);
        assert_eq!(all.admit(secret.reveal()).await, Err(Refusal::Unknown));
        assert!(matches!(all.revoke("ci").await, Err(TokenError::Unknown(_))));
        store.close().await;

        let (store, all) = tokens(dir.path()).await;
        assert_eq!(all.admit(secret.reveal()).await, Err(Refusal::Unknown));
        let id = all.list()[0].id.clone();
        assert_eq!(all.revoke(&id).await.unwrap().name, "dashboard");
        assert_eq!(all.list(), []);
        store.close().await;
    }

    #[tokio::test]
    async fn what_is_no_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (store, all) = tokens(dir.path()).await;
        let (token, secret) = all.create("ci".to_owned(), Scope::Read, None).await.unwrap();
        let good = secret.reveal();
        let swapped = format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { '1' } else { '0' });
        let hashed = format!("{PREFIX}{}_{}", token.id, blake3::Hash::from_bytes(token.hash).to_hex());
        for text in ["", "swl_", "swl__", &good[4..], &good[..good.len() - 1], &format!("{good} "), &swapped, &hashed] {
            assert_eq!(all.admit(text).await, Err(Refusal::Unknown), "{text}");
        }
        store.close().await;
    }

    #[tokio::test]
    async fn a_token_that_is_over_is_refused_and_says_since_when() {
        let dir = tempfile::tempdir().unwrap();
        let (store, all) = tokens(dir.path()).await;
        let past = Timestamp::from_millis(1_700_000_000_000);
        assert!(
            matches!(all.create("x".to_owned(), Scope::Read, Some(past)).await, Err(TokenError::Over(at)) if at == past)
        );
        let (token, secret) = all.create("x".to_owned(), Scope::Read, None).await.unwrap();
        all.end(&token.id, past);
        assert_eq!(all.admit(secret.reveal()).await, Err(Refusal::Expired { name: "x".to_owned(), at: past }));
        store.close().await;
    }

    #[tokio::test]
    async fn a_name_is_one_tokens_and_has_no_strange_letters() {
        let dir = tempfile::tempdir().unwrap();
        let (store, all) = tokens(dir.path()).await;
        all.create("ci".to_owned(), Scope::Read, None).await.unwrap();
        assert!(matches!(all.create("ci".to_owned(), Scope::Admin, None).await, Err(TokenError::NameTaken(_))));
        for name in ["", "a b", "a\n", "ä", &"x".repeat(65)] {
            assert!(
                matches!(all.create(name.to_owned(), Scope::Read, None).await, Err(TokenError::BadName(_))),
                "{name}"
            );
        }
        assert_eq!(all.list().len(), 1);
        store.close().await;
    }
}
