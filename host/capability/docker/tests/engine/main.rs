//! The capability against a real Engine: a private one for all tests of this binary, and one each for those that
//! break it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod attach;
mod create;
mod exec;
mod keyboard;
mod lifecycle;
mod logs;
mod observe;
mod outage;
mod refusals;
mod strangers;
mod typed;
mod watch;

use std::sync::OnceLock;
use std::time::Duration;

use seawall_docker::{Container, Docker, DockerGrant, Scope};
use seawall_model::{Key, SessionId, Status, StoreId};
use seawall_testing::PATIENCE;
use seawall_testing::docker::Engine;

/// The Engine that the tests share; it ends with this process.
fn shared() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Engine::start_or_skip("the Docker capability")).as_ref();
    if engine.is_none() {
        // Once for each test, not only for the first.
        seawall_testing::skipped("the Docker capability", "no private Engine");
    }
    engine
}

/// A capability in a namespace of its own.
struct Fixture {
    engine: &'static Engine,
    docker: Docker,
    scope: Scope,
}

impl Fixture {
    fn new() -> Option<Self> {
        Self::granted(DockerGrant::default())
    }

    fn granted(grant: DockerGrant) -> Option<Self> {
        let engine = shared()?;
        let scope = scope("app");
        let docker = Docker::new(scope.clone(), at(engine, grant));
        Some(Self { engine, docker, scope })
    }

    fn name(&self, key: &Key) -> String {
        format!("seawall-{}-{}-{}", self.scope.store, key.session, key.incarnation)
    }

    /// What `docker inspect` says, as JSON.
    fn inspected(&self, key: &Key) -> serde_json::Value {
        let text = self.engine.docker(["inspect", &self.name(key)]).unwrap();
        let mut all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        all.remove(0)
    }

    /// Creates and starts it, and gives its key with the handle.
    async fn run(&self, container: &Container) -> Key {
        let made = self.docker.create(container).await.unwrap();
        let key = Key { handle: made.handle, ..container.key.clone() };
        self.docker.start(&key).await.unwrap();
        key
    }

    async fn status(&self, key: &Key) -> Option<Status> {
        let found = self.docker.inspect(std::slice::from_ref(key)).await.unwrap();
        found.into_iter().next().map(|found| found.status)
    }

    /// Waits until the status is as it should be, and gives it.
    async fn until(&self, key: &Key, what: &str, is: impl Fn(&Status) -> bool) -> Status {
        let wait = async {
            loop {
                if let Some(status) = self.status(key).await
                    && is(&status)
                {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("never seen: {what}"))
    }

    async fn until_ended(&self, key: &Key) -> Status {
        self.until(key, "its end", |status| status.state.ended()).await
    }
}

fn scope(backend: &str) -> Scope {
    Scope { store: StoreId::random(), backend: backend.parse().unwrap(), protected: Vec::new() }
}

fn at(engine: &Engine, grant: DockerGrant) -> DockerGrant {
    DockerGrant { host: Some(engine.host()), ..grant }
}

fn key() -> Key {
    Key { session: SessionId::random(), incarnation: 1, handle: None }
}

fn busybox(command: &[&str]) -> Container {
    let mut container = Container::new(key(), "busybox:latest");
    container.command = command.iter().map(|word| (*word).to_owned()).collect();
    container
}

fn shell(script: &str) -> Container {
    busybox(&["sh", "-c", script])
}

fn sleeper() -> Container {
    // An init, so that SIGTERM ends it.
    Container { init: true, ..busybox(&["sleep", "1000"]) }
}

/// So many bytes of every kind, without a newline at their end.
fn noise(length: u32) -> Vec<u8> {
    let mut noise: Vec<u8> = (0..length).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    noise.push(0xff);
    noise
}

fn handle_text(status: &Status) -> String {
    String::from_utf8(status.handle.clone().unwrap()).unwrap()
}
