//! The same two calls through every kind of plugin system, in one run: `cargo xtask bench --peers`.
//!
//! Roads take turns in short slices, so that what disturbs one disturbs all, and everything is measured from the same
//! multi-threaded runtime, as in a daemon. First with all processes confined to one core, then to two. Nothing is
//! asserted: a ratio that misses its target is shown as such.

mod drive;
#[cfg(feature = "extism")]
mod extism;
mod grpc;
mod memory;
mod native;
mod peer;
mod seawall;
mod table;
mod wasm;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use seawall_model::Key;
use serde_json::{Value, json};

use crate::drive::Times;
use crate::peer::{Call, Peer};
use crate::table::{Measured, Memory, Report};

/// Every road gets so many slices of each kind.
const ROUNDS: usize = 12;

/// Callers at one time.
const CALLERS: [usize; 3] = [1, 8, 64];

/// Where the guests and the server are.
pub(crate) struct Files {
    guests: PathBuf,
    server: PathBuf,
}

impl Files {
    fn from_environment() -> Result<Self> {
        let path = |name| std::env::var_os(name).map(PathBuf::from).with_context(|| format!("set {name}"));
        Ok(Self { guests: path("PEERS_GUESTS")?, server: path("PEERS_SERVER")? })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.guests.join(name);
        std::fs::read(&file).with_context(|| format!("read {}: `cargo xtask bench --peers` builds it", file.display()))
    }

    /// The component.
    pub(crate) fn guest(&self) -> Result<Vec<u8>> {
        self.read("guest.wasm")
    }

    /// The component with an allocator that frees, for an instance that is kept.
    pub(crate) fn kept(&self) -> Result<Vec<u8>> {
        self.read("guest-kept.wasm")
    }

    /// Extism's module.
    #[cfg(feature = "extism")]
    pub(crate) fn extism(&self) -> Result<Vec<u8>> {
        self.read("guest-extism.wasm")
    }

    /// The program that serves gRPC.
    pub(crate) fn server(&self) -> &Path {
        &self.server
    }
}

/// One of several that is not in use. A thread finds one at once, if there are as many as threads.
pub(crate) fn free<T>(all: &[Mutex<T>]) -> Result<MutexGuard<'_, T>> {
    if let Some(free) = all.iter().find_map(|one| one.try_lock().ok()) {
        return Ok(free);
    }
    Ok(all.first().context("there is none")?.lock().unwrap_or_else(PoisonError::into_inner))
}

fn main() -> Result<()> {
    let files = Files::from_environment()?;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => all(&files),
        ["memory", road, cache] => {
            println!("{}", memory::measure(road, &files, Path::new(cache))?);
            Ok(())
        }
        _ => bail!("no such arguments: {arguments:?}"),
    }
}

fn all(files: &Files) -> Result<()> {
    let mut report = Report::default();
    let cores = sched_getaffinity(None).context("ask which cores there are")?;
    for wanted in [1, 2] {
        if cores.count() < wanted {
            report.note("there is one core only: what needs two was not measured");
            continue;
        }
        confine(&cores, wanted)?;
        let workers = usize::try_from(wanted)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
        runtime.block_on(calls(files, workers, &mut report)).with_context(|| format!("on {wanted} cores"))?;
    }
    sched_setaffinity(None, &cores).context("use all cores")?;
    for road in memory::ROADS.iter().copied() {
        report.memory(memory_of(road).with_context(|| format!("memory of {road}"))?);
    }
    if !cfg!(feature = "extism") {
        report.note("EXTISM WAS LEFT OUT of this build (feature `extism`)");
    }
    if cfg!(debug_assertions) {
        report.note("this is NOT a release build: it says nothing; use `cargo xtask bench --peers`");
    }
    let file = Path::new("target/bench-peers.json");
    report.write(file).with_context(|| format!("write {}", file.display()))?;
    println!("{report}");
    println!("written to {}", file.display());
    Ok(())
}

/// This thread, and the threads and processes that it starts from now on, run on the first so many cores.
fn confine(cores: &CpuSet, wanted: u32) -> Result<()> {
    let mut set = CpuSet::new();
    let all = (0..CpuSet::MAX_CPU).filter(|cpu| cores.is_set(*cpu));
    all.take(usize::try_from(wanted)?).for_each(|cpu| set.set(cpu));
    sched_setaffinity(None, &set).with_context(|| format!("use {wanted} cores"))
}

/// Every road, every call, every number of callers, by turns.
async fn calls(files: &Files, cores: usize, report: &mut Report) -> Result<()> {
    let (guest, kept) = (files.guest()?, files.kept()?);
    let host = seawall::Seawall::new(None).await?;
    let roads: Vec<(&'static str, Arc<dyn Peer>)> = vec![
        (table::DIRECT, Arc::new(native::Through(native::Native::new()))),
        (table::KEPT, Arc::new(wasm::Kept::new(&wasm::Compiled::new(&kept, false)?, cores)?)),
        (table::SEAWALL, Arc::new(native::Through(host.load(&guest).await?))),
        (table::BOUNDED, Arc::new(wasm::Fresh(wasm::Compiled::new(&guest, true)?))),
        (table::PLAIN, Arc::new(wasm::Fresh(wasm::Compiled::new(&guest, false)?))),
        (table::GRPC, Arc::new(grpc::Grpc::start(files.server()).await?)),
    ];
    #[cfg(feature = "extism")]
    let roads = {
        let compiled = extism::compile(&files.extism()?, None)?;
        let kept: Arc<dyn Peer> = Arc::new(extism::Kept::new(&compiled, cores)?);
        let fresh: Arc<dyn Peer> = Arc::new(extism::Fresh(compiled));
        [roads, vec![(table::EXTISM_KEPT, kept), (table::EXTISM_FRESH, fresh)]].concat()
    };
    let keys: Arc<[Key]> = peer::keys(1_000)?.into();
    let mut measured: Vec<(usize, Call, usize, Times)> = Vec::new();
    for (road, _) in roads.iter().enumerate() {
        for call in Call::ALL {
            measured.extend(CALLERS.map(|callers| (road, call, callers, Times::default())));
        }
    }
    for round in 0..=ROUNDS {
        eprint!("\r{cores} cores, round {round} of {ROUNDS}  ");
        for (road, call, callers, times) in &mut measured {
            let (name, peer) = roads.get(*road).context("a road")?;
            let span = Duration::from_millis(if *call == Call::Inspect(1_000) { 40 } else { 15 });
            let sampled = times.sample(peer, *call, &keys, *callers, span).await;
            sampled.with_context(|| format!("{} by {name}", call.name()))?;
            if round == 0 {
                // For warming up.
                *times = Times::default();
            }
        }
    }
    eprintln!();
    for (road, call, callers, times) in measured {
        let (road, _) = roads.get(road).context("a road")?;
        report.calls(Measured { road, call, cores, callers, times });
    }
    drop(roads);
    host.close().await;
    Ok(())
}

/// Measured in a process of its own, twice: the first time fills the caches.
fn memory_of(road: &'static str) -> Result<Memory> {
    let cache = tempfile::tempdir().context("make a directory")?;
    let mut value = Value::Null;
    for _ in 0..2 {
        let mut command = std::process::Command::new(std::env::current_exe().context("find this program")?);
        let output =
            command.arg("memory").arg(road).arg(cache.path()).stderr(std::process::Stdio::inherit()).output()?;
        if !output.status.success() {
            bail!("it failed ({})", output.status);
        }
        value = serde_json::from_slice(&output.stdout).context("read what it measured")?;
    }
    let bytes =
        |pointer: &str| value.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("{pointer} in {value}"));
    Ok(Memory {
        road,
        loaded: bytes("/loaded")?,
        held_one: bytes("/in_flight/0/bytes")?,
        held_thousand: bytes("/in_flight/1/bytes")?,
    })
}

/// What was measured on.
pub(crate) fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({"kernel": read("/proc/sys/kernel/osrelease"), "cores": cores, "cpu": cpu.trim_start_matches([' ', '\t', ':']),
           "load": read("/proc/loadavg")})
}
