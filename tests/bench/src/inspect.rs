//! `inspect` of a thousand containers through the plugin, beside bollard's own list and decode of the same answer.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, Docker};
use seawall_backend::ExecutionBackend as _;
use seawall_model::Key;
use serde_json::{Value, json};

use crate::guest::Host;
use crate::measure::{Report, Times};
use crate::recorded::{Recorded, container};

const CONTAINERS: u64 = 1_000;
const ROUNDS: usize = 300;
const WARM: usize = 20;

/// An Engine with a thousand recorded containers of a host's sessions.
pub(crate) struct Thousand {
    pub(crate) keys: Vec<Key>,
    pub(crate) grants: Value,
    engine: Recorded,
}

impl Thousand {
    pub(crate) fn of(host: &Host) -> Result<Self> {
        let store = host.store_id();
        let sessions: Vec<String> = (0..CONTAINERS).map(|number| format!("{number:016x}")).collect();
        let containers: Vec<_> =
            sessions.iter().zip(0..).map(|(session, number)| container(&store, session, number)).collect();
        let engine = Recorded::serve(host.dir().join("d.sock"), &containers)?;
        let keys = sessions
            .iter()
            .zip(0..CONTAINERS)
            .map(|(session, number)| {
                let handle = Some(format!("{number:064x}").into_bytes());
                Ok(Key { session: session.parse().context("a session id")?, incarnation: 1, handle })
            })
            .collect::<Result<Vec<_>>>()?;

        let grants = json!({"docker": {"host": format!("unix://{}", engine.socket().display())}});
        Ok(Self { keys, grants, engine })
    }
}

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let host = Host::new().await?;
    let store = host.store_id();
    let Thousand { keys, grants, engine } = Thousand::of(&host)?;
    let backend = host.load("docker", grants.clone(), json!({})).await?;
    let bollard = Docker::connect_with_unix(&engine.socket().to_string_lossy(), 60, API_DEFAULT_VERSION)
        .context("make bollard's client")?
        .negotiate_version()
        .await
        .context("negotiate")?;
    let filters = HashMap::from([(
        "label".to_owned(),
        vec![format!("seawall.store={store}"), "seawall.backend=docker".to_owned()],
    )]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();

    let (mut through, mut direct) = (Times::default(), Times::default());
    for round in 0..WARM + ROUNDS {
        let began = Instant::now();
        let answer = backend.inspect(&keys).await.context("inspect")?;
        let ours = began.elapsed();
        ensure!(answer.found.len() == keys.len(), "{} of {} were found", answer.found.len(), keys.len());
        let began = Instant::now();
        let listed = bollard.list_containers(Some(options.clone())).await.context("bollard's list")?;
        let theirs = began.elapsed();
        ensure!(listed.len() == keys.len(), "{} of {} were listed", listed.len(), keys.len());
        if round >= WARM {
            through.push(ours);
            direct.push(theirs);
        }
    }
    report.compare("inspect of 1,000 containers", &through, ("bollard's list and decode", &direct), 1.1);
    drop(backend);

    let fuel = fuel(&host, &grants, &keys).await?;
    report.number("fuel of that inspect", fuel, "units");
    host.close().await;
    Ok(())
}

/// The least fuel that the call can do with, to a hundredth: found by giving it more and less.
async fn fuel(host: &Host, grants: &Value, keys: &[Key]) -> Result<u64> {
    let (mut little, mut enough) = (1, 5_000_000_000);
    while enough - little > enough / 100 {
        let tried = little + (enough - little) / 2;
        let backend = host.load("docker", grants.clone(), json!({"observe": {"fuel": tried}})).await?;
        match backend.inspect(keys).await {
            Ok(_) => enough = tried,
            Err(_) => little = tried,
        }
    }
    Ok(enough)
}
