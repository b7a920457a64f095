//! `stats` of a hundred containers, beside the same number of one-shot requests sent straight to the engine.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::StatsOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use seawall_backend::ExecutionBackend as _;
use serde_json::json;

use crate::engine::{CONTAINERS, containers, start};
use crate::guest::Host;
use crate::measure::{Report, Times};

/// The Engine measures for a second, each time.
const ROUNDS: usize = 8;
const WARM: usize = 1;
/// As many at once as the capability has.
const PARALLEL: usize = 16;

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let Some(engine) = start(report, "`stats` of a real engine")? else { return Ok(()) };
    let host = Host::new().await?;
    let backend = host.load("docker", json!({"docker": {"host": engine.host()}}), json!({})).await?;
    let keys = containers(&backend).await?;
    let ids = keys.iter().map(|key| String::from_utf8(key.handle.clone().unwrap_or_default()).context("an id"));
    let ids = ids.collect::<Result<Vec<_>>>()?;
    let bollard = Docker::connect_with_unix(&engine.socket().to_string_lossy(), 60, API_DEFAULT_VERSION)
        .context("make bollard's client")?
        .negotiate_version()
        .await
        .context("negotiate")?;
    let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();

    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for round in 0..WARM + ROUNDS {
        let began = Instant::now();
        let measured = backend.stats(&keys).await.context("stats")?;
        let through = began.elapsed();
        ensure!(measured.len() == CONTAINERS, "{} of {CONTAINERS} were measured", measured.len());
        let began = Instant::now();
        let asked = ids.iter().map(|id| {
            let (bollard, options) = (&bollard, options.clone());
            async move { bollard.stats(id, Some(options)).try_collect::<Vec<_>>().await }
        });
        let raw: Vec<_> =
            stream::iter(asked).buffer_unordered(PARALLEL).try_collect().await.context("ask the engine")?;
        let direct = began.elapsed();
        ensure!(raw.len() == CONTAINERS, "{} of {CONTAINERS} were answered", raw.len());
        if round >= WARM {
            ours.push(through);
            theirs.push(direct);
        }
    }
    report.compare("stats of 100 containers", &ours, ("100 one-shot requests, 16 at once", &theirs), 1.2);
    drop(backend);
    host.close().await;
    Ok(())
}
