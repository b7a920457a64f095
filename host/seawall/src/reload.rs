//! Reads the configuration again while the daemon runs, and adds, removes and restarts exactly the backends that changed
//! (B3).
//!
//! ```text
//!   SIGHUP, POST /v1/reload --> read and check all --> load what is new --> put it in place
//!                                       `------------------`--> refused: nothing was changed
//! ```
//!
//! One task owns the settings that are in effect, hence reloads follow one another. What cannot change while the daemon
//! runs is refused by name, and then nothing else is changed either.

use std::collections::BTreeMap;
use std::sync::Arc;

use seawall_backend::ExecutionBackend as _;
use seawall_control::{BackendChange, Control};
use seawall_model::BackendName;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::api::{Certificate, Schemas};
use crate::app::StartError;
use crate::config::{Backend, ConfigError, Settings};
use crate::loading::{Loaded, Loader};

/// What a reload did, by backend: `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct Reloaded {
    /// They are there from now on.
    pub(crate) added: Vec<BackendName>,
    /// They are there no longer.
    pub(crate) removed: Vec<BackendName>,
    /// They were replaced, since these of their properties changed.
    pub(crate) restarted: BTreeMap<BackendName, Vec<String>>,
    /// They are as they were, and were not touched.
    pub(crate) left: Vec<BackendName>,
    /// Settings of the daemon itself that changed; `api.tcp.tls` where its files have another certificate now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) settings: Vec<String>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The configuration cannot be used.
    #[error("nothing was changed")]
    Config(#[source] ConfigError),
    /// These settings are other ones, and are only read at the start.
    #[error("nothing was changed: it needs a restart of the daemon to change {}", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// A backend cannot be loaded.
    #[error("nothing was changed")]
    Load(#[source] StartError),
    /// The daemon is ending.
    #[error("nothing was changed: the daemon is shutting down")]
    ShuttingDown,
}

type Answer = oneshot::Sender<Result<Reloaded, ReloadError>>;

/// So many may wait for their turn.
const QUEUE: usize = 16;

/// Asks for a reload. Clones ask the same.
#[derive(Clone, Debug)]
pub(crate) struct Reload(Option<mpsc::Sender<Answer>>);

impl Reload {
    /// Reads the configuration again and waits until that is done. It is done also if nobody waits.
    ///
    /// # Errors
    /// See [`ReloadError`].
    pub(crate) async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let Some(asks) = &self.0 else { return Ok(Reloaded::default()) };
        let (answer, answered) = oneshot::channel();
        asks.send(answer).await.map_err(|_| ReloadError::ShuttingDown)?;
        answered.await.unwrap_or(Err(ReloadError::ShuttingDown))
    }

    /// The same, with nobody to wait: the log has what came of it.
    pub(crate) fn ask(&self) {
        if let Some(asks) = &self.0 {
            // If so many wait for their turn already, each of them reads what is there by then.
            _ = asks.try_send(oneshot::channel().0);
        }
    }

    /// Of a daemon that has no configuration: nothing in it ever changes.
    pub(crate) fn never() -> Self {
        Self(None)
    }
}

/// The task that reloads.
#[derive(Debug)]
pub(crate) struct Reloader {
    ending: CancellationToken,
    task: JoinHandle<()>,
    /// What is in effect.
    pub(crate) settings: watch::Receiver<Arc<Settings>>,
}

impl Reloader {
    /// Starts it, with what is in effect now.
    pub(crate) fn spawn(
        settings: Settings,
        digests: BTreeMap<BackendName, blake3::Hash>,
        loader: Loader,
        control: Control,
        schemas: Schemas,
        certificate: Option<Certificate>,
    ) -> (Self, Reload) {
        let (asks, asked) = mpsc::channel(QUEUE);
        let (in_effect, settings) = watch::channel(Arc::new(settings));
        let ending = CancellationToken::new();
        let work = Work { in_effect, digests, loader, control, schemas, certificate, ending: ending.clone() };
        (Self { ending, task: tokio::spawn(work.run(asked)), settings }, Reload(Some(asks)))
    }

    /// Ends it: a reload that has not begun to change anything is refused, another is carried to its end.
    pub(crate) async fn shutdown(self) {
        self.ending.cancel();
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

struct Work {
    in_effect: watch::Sender<Arc<Settings>>,
    /// Of the component of every backend.
    digests: BTreeMap<BackendName, blake3::Hash>,
    loader: Loader,
    control: Control,
    schemas: Schemas,
    /// Of the API, where it speaks TLS.
    certificate: Option<Certificate>,
    ending: CancellationToken,
}

impl Work {
    async fn run(mut self, mut asked: mpsc::Receiver<Answer>) {
        loop {
            // Cancel-safe: an answer that was not taken is dropped with the queue, and whoever waits is told.
            let answer = tokio::select! {
                biased;
                () = self.ending.cancelled() => break,
                answer = asked.recv() => answer,
            };
            let Some(answer) = answer else { break };
            let done = self.reload().await;
            match &done {
                Ok(done) => info!(
                    added = ?done.added, removed = ?done.removed, restarted = ?done.restarted, left = ?done.left,
                    settings = ?done.settings, "the configuration was read again"
                ),
                Err(error) => error!("the configuration was not read again: {}", crate::exit::chain(error)),
            }
            // Whoever asked may be gone.
            _ = answer.send(done);
        }
        self.loader.idle().await;
    }

    async fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let before = Arc::clone(&self.in_effect.borrow());
        let read = {
            let (before, certificate) = (Arc::clone(&before), self.certificate.clone());
            tokio::task::spawn_blocking(move || {
                let after = before.again().map_err(ReloadError::Config)?;
                let certificate = certificate.as_ref().map(Certificate::again).transpose();
                Ok((after, certificate.map_err(ReloadError::Load)?.flatten()))
            })
        };
        let (after, certificate) = match read.await {
            Ok(read) => read?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let fixed = before.needs_restart(&after);
        if !fixed.is_empty() {
            return Err(ReloadError::NeedsRestart(fixed));
        }
        let mut components = self.loader.read(&after).await.map_err(ReloadError::Load)?;
        let digests = components.iter().map(|(name, component)| (name.clone(), component.digest)).collect();
        let mut done = self.compare(&before, &after, &digests);
        components.retain(|name, _| !done.left.contains(name));
        // Everything that can fail has failed before anything is changed.
        let loaded = tokio::select! {
            biased;
            () = self.ending.cancelled() => return Err(ReloadError::ShuttingDown),
            loaded = self.loader.load(&after, components) => loaded.map_err(ReloadError::Load)?,
        };
        self.put_in_place(&done, loaded).await?;
        self.loader.ceiling().resize(after.ceiling);
        if let (Some(shown), Some(certificate)) = (&self.certificate, certificate) {
            shown.show(certificate);
            done.settings.push("api.tcp.tls".to_owned());
        }
        self.digests = digests;
        self.in_effect.send_replace(Arc::new(after));
        Ok(done)
    }

    fn compare(&self, before: &Settings, after: &Settings, digests: &BTreeMap<BackendName, blake3::Hash>) -> Reloaded {
        let gone = before.backend.keys().filter(|name| !after.backend.contains_key(*name));
        let mut done =
            Reloaded { removed: gone.cloned().collect(), settings: before.changed(after), ..Reloaded::default() };
        for (name, new) in &after.backend {
            let Some(old) = before.backend.get(name) else {
                done.added.push(name.clone());
                continue;
            };
            let mut changed = Backend::changed(old, new);
            if self.digests.get(name) != digests.get(name) && !changed.contains(&"plugin") {
                changed.insert(0, "plugin");
            }
            if changed.is_empty() {
                done.left.push(name.clone());
            } else {
                done.restarted.insert(name.clone(), changed.into_iter().map(str::to_owned).collect());
            }
        }
        done
    }

    async fn put_in_place(&self, done: &Reloaded, loaded: BTreeMap<BackendName, Loaded>) -> Result<(), ReloadError> {
        let mut changes = BTreeMap::new();
        let mut schemas = BTreeMap::new();
        for (name, Loaded { driver, options }) in loaded {
            let plugin = format!("plugin {} {}", driver.info().name, driver.info().version);
            let message = match done.restarted.get(&name) {
                Some(changed) => format!("{plugin}: its {} changed", changed.join(", ")),
                None => format!("{plugin}: it is new in the configuration"),
            };
            changes.insert(name.clone(), BackendChange::Put { driver, message });
            schemas.insert(name, options);
        }
        for name in &done.removed {
            let message = "it is not in the configuration any more; its sessions are unknown until it is".to_owned();
            changes.insert(name.clone(), BackendChange::Remove { message });
        }
        self.schemas.put(schemas);
        // Only a daemon that is ending refuses.
        self.control.change_backends(changes).await.map_err(|_| ReloadError::ShuttingDown)?;
        self.schemas.remove(&done.removed);
        Ok(())
    }
}
