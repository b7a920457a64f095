//! Create, start, signal, remove: one container at a time, each call safe to repeat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::errors::Error as Bollard;
use bollard::models::{ContainerInspectResponse, Mount};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use seawall_backend::Error;
use seawall_model::{Incarnation, Key, SessionId, Signal, State, Status};

use crate::Inner;
use crate::config::{self, Context, Refusals};
use crate::connection::{Client, Facts};
use crate::container::{Container, HealthCheck};
use crate::fault::{self, contains_any};
use crate::identity::{self, HEALTH};
use crate::{mounts, status};

/// How long a name may be taken with no container to show for it, and how often we look.
const NAME_PATIENCE: Duration = Duration::from_secs(5);
const NAME_PAUSE: Duration = Duration::from_millis(20);

impl Inner {
    fn name(&self, key: &Key) -> String {
        self.namespace.name(&key.session, key.incarnation)
    }

    /// The key's container, if it is there and ours.
    pub(crate) async fn own(&self, client: &Arc<Client>, key: &Key) -> Result<Option<ContainerInspectResponse>, Error> {
        let id = identity::handle(key)?;
        let name = self.name(key);
        match client.api.inspect_container(id.unwrap_or(&name), None).await {
            Ok(container) => Ok(self.is_ours(client, &container, key, id).await?.then_some(container)),
            Err(error) if fault::status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.connection.failed(client, &format!("inspect the container {name}"), &error)),
        }
    }

    /// Whether it is the key's, by name and stamp, and by id where that is known.
    async fn is_ours(
        &self,
        client: &Arc<Client>,
        container: &ContainerInspectResponse,
        key: &Key,
        id: Option<&str>,
    ) -> Result<bool, Error> {
        let owned = self.namespace.owns(&status::stamp(container), key, id);
        if !owned || id.is_some() {
            return Ok(owned);
        }
        let copies = self.copies(client).await?;
        Ok(!copies.has(container.image.as_deref(), (key.session.as_str(), key.incarnation)))
    }

    pub(crate) fn missing(&self, key: &Key) -> Error {
        Error::NotFound(format!("there is no container {} of this backend", self.name(key)))
    }

    pub(crate) async fn create(&self, container: &Container) -> Result<Status, Error> {
        let key = &container.key;
        let wanted = identity::handle(key)?;
        let client = self.connection.client().await?;
        let facts = self.connection.facts(&client).await?;
        let context = Context { namespace: &self.namespace, grant: &self.grant, facts };
        let (mounts, refusals) = self.mounts(&client, facts, container).await?;
        let mut body = config::build(container, &context, mounts, refusals)?;
        if self.has_health_check(&client, container).await?
            && let Some(labels) = &mut body.labels
        {
            labels.insert(HEALTH.to_owned(), "1".to_owned());
        }

        let name = self.name(key);
        let doing = format!("create the container {name}");
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        // The Engine gives a name away before there is a container of it to look at: an earlier try of the same key,
        // which was cut off, may be at that just now.
        let patience = Instant::now() + NAME_PATIENCE;
        loop {
            let error = match client.api.create_container(Some(options.clone()), body.clone()).await {
                Ok(made) => {
                    for warning in &made.warnings {
                        tracing::info!(container = name, "the Docker Engine warns: {warning}");
                    }
                    return self.created(&client, key, &made.id).await;
                }
                Err(error) => error,
            };
            if fault::status(&error) != Some(409) {
                return Err(self.not_created(&client, container, &doing, &error));
            }
            match client.api.inspect_container(&name, None).await {
                Ok(there) => {
                    if self.is_ours(&client, &there, key, wanted).await? {
                        return Ok(status::of(&there));
                    }
                    let id = there.id.unwrap_or_default();
                    return Err(Error::conflict(format!(
                        "a container that is not this session's has the name {name}: look at it with \
                         `docker inspect {id}` and remove it"
                    )));
                }
                Err(error) if fault::status(&error) != Some(404) => {
                    return Err(self.connection.failed(&client, &doing, &error));
                }
                Err(_) if Instant::now() >= patience => {
                    return Err(Error::Conflict {
                        message: format!("the name {name} is taken, and no container has it yet"),
                        retry_after: Some(NAME_PATIENCE),
                    });
                }
                Err(_) => tokio::time::sleep(NAME_PAUSE).await,
            }
        }
    }

    /// The container's mounts, and what is wrong with them. A file system that hangs holds up a thread of the blocking
    /// pool, and no other call.
    async fn mounts(
        &self,
        client: &Arc<Client>,
        facts: &Facts,
        container: &Container,
    ) -> Result<(Vec<Mount>, Refusals), Error> {
        if container.mounts.is_empty() {
            return Ok((Vec::new(), Refusals::default()));
        }
        let (mounts, grant, endpoint) = (container.mounts.clone(), self.grant.clone(), client.endpoint.clone());
        let protected = self.scope.protected.iter().chain(&facts.root).cloned().collect::<Vec<_>>();
        let resolve = move || {
            let mut refusals = Refusals::default();
            (mounts::resolve(&mounts, &grant, &protected, &endpoint, &mut refusals), refusals)
        };
        let resolved = tokio::task::spawn_blocking(resolve).await;
        resolved.map_err(|error| Error::Other(format!("looking at the mounts came to no end: {error}")))
    }

    async fn created(&self, client: &Arc<Client>, key: &Key, id: &str) -> Result<Status, Error> {
        let key = Key { handle: Some(id.as_bytes().to_vec()), ..key.clone() };
        let made = self.own(client, &key).await?.ok_or_else(|| self.missing(&key))?;
        Ok(status::of(&made))
    }

    /// Whether a check will be active. Only the image knows, where the caller leaves it to it.
    async fn has_health_check(&self, client: &Arc<Client>, container: &Container) -> Result<bool, Error> {
        match &container.health_check {
            HealthCheck::Command(_) => return Ok(true),
            HealthCheck::Disabled => return Ok(false),
            HealthCheck::Image => {}
        }
        let doing = format!("look at the image {}", container.image);
        let image = client
            .api
            .inspect_image(&container.image)
            .await
            .map_err(|error| self.not_created(client, container, &doing, &error))?;
        let test = image.config.and_then(|config| config.healthcheck).and_then(|check| check.test);
        Ok(test.is_some_and(|test| test.first().is_some_and(|kind| !kind.is_empty() && kind != "NONE")))
    }

    fn not_created(&self, client: &Arc<Client>, container: &Container, doing: &str, error: &Bollard) -> Error {
        let Bollard::DockerResponseServerError { status_code, message } = error else {
            return self.connection.failed(client, doing, error);
        };
        let image = &container.image;
        match status_code {
            404 if contains_any(message, &["No such image", "no such image", "not found: "]) => Error::invalid(
                "image",
                format!(
                    "the Docker Engine has no image {image}; get it with `seawall pull -b {} {image}` or `docker pull {image}`",
                    self.namespace.backend
                ),
            ),
            400 if message.contains("client version") => self.connection.failed(client, doing, error),
            400 | 404 => Error::invalid(field(message, "image"), format!("the Docker Engine refuses it: {message}")),
            _ => self.connection.failed(client, doing, error),
        }
    }

    pub(crate) async fn start(&self, key: &Key) -> Result<Status, Error> {
        let client = self.connection.client().await?;
        let there = self.own(&client, key).await?.ok_or_else(|| self.missing(key))?;
        match status::raw_state(&there) {
            State::Running | State::Paused => return Ok(status::of(&there)),
            State::Exited | State::Dead => {
                let name = self.name(key);
                return Err(Error::conflict(format!(
                    "the container {name} has ended and is not started again: a restart is a new incarnation"
                )));
            }
            State::Created => {}
        }
        let id = there.id.unwrap_or_default();
        if let Err(error) = client.api.start_container(&id, None).await {
            return Err(self.not_started(&client, key, &error));
        }
        let key = Key { handle: Some(id.into_bytes()), ..key.clone() };
        let started = self.own(&client, &key).await?.ok_or_else(|| self.missing(&key))?;
        Ok(status::of(&started))
    }

    fn not_started(&self, client: &Arc<Client>, key: &Key, error: &Bollard) -> Error {
        let name = self.name(key);
        if let Bollard::DockerResponseServerError { status_code: 400 | 404 | 500, message } = error {
            if message.contains("No such container") {
                return self.missing(key);
            }
            // The runtime could not make what the spec says, and will not the next time either.
            let runtime = ["OCI runtime", "runc create failed", "unable to find user", "unable to find group"];
            if contains_any(message, &runtime) {
                let field = field(message, "command");
                return Error::invalid(field, format!("the container cannot be started: {}", message.trim()));
            }
        }
        self.connection.failed(client, &format!("start the container {name}"), error)
    }

    pub(crate) async fn signal(&self, key: &Key, signal: Signal) -> Result<(), Error> {
        let client = self.connection.client().await?;
        let Some(there) = self.own(&client, key).await? else { return Ok(()) };
        if !matches!(status::raw_state(&there), State::Running | State::Paused) {
            return Ok(());
        }
        let options = KillContainerOptionsBuilder::new().signal(&signal.number().to_string()).build();
        match client.api.kill_container(&there.id.unwrap_or_default(), Some(options)).await {
            Ok(()) => Ok(()),
            // It ended, or went, since we looked.
            Err(error) if matches!(fault::status(&error), Some(404 | 409)) => Ok(()),
            Err(error) => {
                let doing = format!("send {signal} to the container {}", self.name(key));
                Err(self.connection.failed(&client, &doing, &error))
            }
        }
    }

    pub(crate) async fn expunge(&self, session: &SessionId) -> Result<Vec<Incarnation>, Error> {
        let client = self.connection.client().await?;
        let mut gone = Vec::new();
        for (incarnation, id) in self.of_session(&client, session).await? {
            let key = Key { session: session.clone(), incarnation, handle: Some(id.into_bytes()) };
            self.remove(&key, true).await?;
            gone.push(incarnation);
        }
        Ok(gone)
    }

    pub(crate) async fn remove(&self, key: &Key, force: bool) -> Result<(), Error> {
        let client = self.connection.client().await?;
        let Some(there) = self.own(&client, key).await? else { return Ok(()) };
        let name = self.name(key);
        if !force && matches!(status::raw_state(&there), State::Running | State::Paused) {
            return Err(Error::conflict(format!("the container {name} runs; stop it first, or remove it with force")));
        }
        let options = RemoveContainerOptionsBuilder::new().force(force).v(true).build();
        match client.api.remove_container(&there.id.unwrap_or_default(), Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if fault::status(&error) == Some(404) => Ok(()),
            // An earlier call is at it.
            Err(Bollard::DockerResponseServerError { status_code: 409, message })
                if message.contains("already in progress") =>
            {
                Ok(())
            }
            Err(error) => Err(self.connection.failed(&client, &format!("remove the container {name}"), &error)),
        }
    }
}

/// The field of the spec that the Engine's words are about. The Engine does not say it in any other way.
fn field(message: &str, otherwise: &'static str) -> &'static str {
    const WORDS: [(&str, &[&str]); 8] = [
        ("user", &["unable to find user", "unable to find group", "find uid", "find gid"]),
        ("working_dir", &["chdir", "working directory", "mkdir cwd", "cwd"]),
        ("mounts", &["mounting", "mount config", "mount path", "bind source", "volume", "Duplicate mount point"]),
        ("resources.ulimits", &["ulimit", "rlimit"]),
        ("resources.memory", &["memory"]),
        ("resources.cpus", &["Range of CPUs", "CPU"]),
        ("hostname", &["hostname"]),
        ("command", &["exec:", "executable file", "No command specified", "no command specified"]),
    ];
    WORDS.iter().find(|(_, words)| contains_any(message, words)).map_or(otherwise, |(field, _)| field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_words_name_a_field() {
        for (message, expected) in [
            (
                "OCI runtime create failed: runc create failed: unable to start container process: exec: \"nope\": \
                 executable file not found in $PATH: unknown",
                "command",
            ),
            ("unable to find user nobody2: no matching entries in passwd file", "user"),
            ("Duplicate mount point: /data", "mounts"),
            ("something else", "image"),
        ] {
            assert_eq!(field(message, "image"), expected, "{message}");
        }
    }
}
