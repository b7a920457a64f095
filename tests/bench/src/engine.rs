//! With a real Docker Engine: a sweep beside one raw request, `seawall run` beside `docker run`.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use seawall_backend::ExecutionBackend as _;
use seawall_model::{Key, SessionId, SessionName, SessionSpec};
use seawall_runtime::WasmBackend;
use seawall_testing::daemon::{Home, seawall_binary};
use seawall_testing::docker::{Engine, NoEngine};
use seawall_testing::http;
use serde_json::json;

use crate::guest::Host;
use crate::measure::{Report, Times};

pub(crate) const CONTAINERS: usize = 100;
const SWEEPS: usize = 100;
const RUNS: usize = 15;

pub(crate) fn start(report: &mut Report, what: &str) -> Result<Option<Engine>> {
    match Engine::start() {
        Ok(engine) => Ok(Some(engine)),
        Err(NoEngine::Skipped(why)) => {
            report.note(format!("{what} was NOT measured: {why}"));
            Ok(None)
        }
        Err(failed @ NoEngine::Failed(_)) => Err(failed.into()),
    }
}

/// A sweep of running containers: one `inspect` of them all through the plugin.
pub(crate) async fn sweep(report: &mut Report) -> Result<()> {
    let Some(engine) = start(report, "a sweep of a real engine")? else { return Ok(()) };
    let host = Host::new().await?;
    let backend = host.load("docker", json!({"docker": {"host": engine.host()}}), json!({})).await?;
    let keys = containers(&backend).await?;
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for _ in 0..SWEEPS {
        let began = Instant::now();
        let answer = backend.inspect(&keys).await.context("inspect")?;
        ours.push(began.elapsed());
        ensure!(answer.found.len() == CONTAINERS, "{} of {CONTAINERS} were found", answer.found.len());
        let began = Instant::now();
        let raw = http::request(&engine.socket(), "GET", "/v1.41/containers/json", None).context("ask the engine")?;
        theirs.push(began.elapsed());
        ensure!(raw.status == 200, "the engine answered {}", raw.status);
    }
    report.compare("sweep of 100 running containers", &ours, ("one raw GET /containers/json", &theirs), 1.2);
    drop(backend);
    host.close().await;
    Ok(())
}

/// Has a backend make and start [`CONTAINERS`] sessions.
pub(crate) async fn containers(backend: &WasmBackend) -> Result<Vec<Key>> {
    let mut spec = SessionSpec::new("docker".parse().context("a backend")?);
    spec.image = Some("busybox".to_owned());
    spec.command = vec!["sleep".to_owned(), "100000".to_owned()];
    let mut keys = Vec::new();
    for number in 0..CONTAINERS {
        let session: SessionId = format!("{number:016x}").parse().context("a session id")?;
        let name: SessionName = format!("s{number}-").parse().context("a name")?;
        let mut key = Key { session, incarnation: 1, handle: None };
        key.handle = backend.create(&key, &name, &spec).await.context("create")?.handle;
        backend.start(&key).await.context("start")?;
        keys.push(key);
    }
    Ok(keys)
}

/// From the command line until the container runs.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let Some(engine) = start(report, "`seawall run`")? else { return Ok(()) };
    let home = Home::new(&seawall_binary()?)?.with_docker(&engine.host());
    let _daemon = home.serve(true)?;
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for round in 0..=RUNS {
        let began = Instant::now();
        home.ok(&["run", "--backend", "docker", "--image", "busybox", "--", "sleep", "100000"])?;
        let seawall = began.elapsed();
        let began = Instant::now();
        engine.docker(["run", "--detach", "busybox", "sleep", "100000"])?;
        // The first of each finds nothing warm.
        if round > 0 {
            ours.push(seawall);
            theirs.push(began.elapsed());
        }
    }
    report.compare("seawall run of a container", &ours, ("docker run --detach", &theirs), 1.3);
    Ok(())
}
