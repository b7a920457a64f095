//! Who takes part: one good neighbour, and guests that each misbehave in `list`, with limits small enough that one
//! call is over in about a millisecond.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use seawall_backend::breaker::BreakerConfig;
use seawall_backend::limit::{Ceiling, LimitConfig};
use seawall_backend::{Bulkhead, BulkheadConfig, ExecutionBackend as _};
use seawall_model::{Key, SessionId, SessionName, SessionSpec};
use seawall_runtime::{Plugin, Runtime, RuntimeConfig, Services, WasmBackend};
use seawall_store::Store;
use serde_json::{Value, json};

/// More workers than permits, so that calls wait for one another too.
pub(crate) const WORKERS: usize = 24;

/// How long a call waits for its turn.
const PATIENCE: Duration = Duration::from_secs(120);

/// Workloads of the good neighbour.
const WORKLOADS: u64 = 10;

pub(crate) type Backend = Bulkhead<WasmBackend>;

/// A guest that misbehaves.
pub(crate) struct Offender {
    pub(crate) name: &'static str,
    /// The kind of error that each of its calls must end with.
    pub(crate) ends: &'static str,
    pub(crate) backend: Backend,
}

/// All of them, on one runtime.
pub(crate) struct Cast {
    pub(crate) good: Backend,
    pub(crate) workloads: Vec<Key>,
    pub(crate) offenders: Vec<Offender>,
    runtime: Runtime,
    services: Services,
    /// Holds what is kept until the end.
    _dir: tempfile::TempDir,
}

/// A name, the guest, its configuration, its limits and deadline, and how its calls end.
type Role = (&'static str, &'static str, fn() -> Value, fn() -> Value, &'static str, &'static str);

const ROLES: [Role; 8] = [
    ("spin", "spin", in_list, || json!({"fuel": 500_000}), "10s", "fuel"),
    ("trap", "trap", in_list, || json!({}), "10s", "trap"),
    ("panic", "panic", in_list, || json!({}), "10s", "trap"),
    ("hog", "hog", in_list, || json!({"memory": "4MiB"}), "10s", "memory"),
    ("flood", "flood", in_list, || json!({"calls": 100}), "10s", "limit"),
    ("hang", "hang", in_list, || json!({}), "2ms", "deadline"),
    ("liar", "liar", || json!({"lie": "strange-session"}), || json!({}), "10s", "bad_answer"),
    ("again", "liar", || json!({"lie": "incarnation-zero"}), || json!({}), "10s", "bad_answer"),
];

fn in_list() -> Value {
    json!({"function": "list"})
}

impl Cast {
    pub(crate) async fn assemble() -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory")?;
        let services = Services {
            store: Store::open(&dir.path().join("data")).await.context("open a store")?,
            runs: dir.path().join("runs"),
            supervisor: dir.path().join("none"),
            protected: Vec::new(),
        };
        let cache = Some(dir.path().join("cache"));
        let runtime = Runtime::new(RuntimeConfig { cache, ..RuntimeConfig::default() }).context("make a runtime")?;
        let ceiling = Ceiling::new(128);

        let mut offenders = Vec::new();
        for (name, guest, config, limits, deadline, ends) in ROLES {
            let parts =
                json!({"config": config(), "limits": {"observe": limits()}, "deadlines": {"observe": deadline}});
            let wasm = built(&format!("tests/fixtures/dist/{guest}.wasm"))?;
            let backend = load(&runtime, &services, &ceiling, name, wasm, parts).await?;
            offenders.push(Offender { name, ends, backend });
        }
        let parts = json!({"grants": {"state": true}});
        let good = load(&runtime, &services, &ceiling, "mock", built("plugins/dist/mock.wasm")?, parts).await?;
        let workloads = workloads(&good).await?;
        Ok(Self { good, workloads, offenders, runtime, services, _dir: dir })
    }

    pub(crate) async fn dismiss(self) {
        drop((self.good, self.offenders));
        self.runtime.shutdown();
        self.services.store.close().await;
    }
}

async fn load(
    runtime: &Runtime,
    services: &Services,
    ceiling: &Ceiling,
    name: &str,
    wasm: Vec<u8>,
    parts: Value,
) -> Result<Backend> {
    let part = |key: &str| parts.get(key).cloned();
    let deadlines = part("deadlines").map(serde_json::from_value).transpose().context("read the deadlines")?;
    let plugin = Plugin {
        config: serde_json::from_value(part("config").unwrap_or_else(|| json!({})))
            .context("read the configuration")?,
        grants: serde_json::from_value(part("grants").unwrap_or_else(|| json!({}))).context("read the grants")?,
        limits: serde_json::from_value(part("limits").unwrap_or_else(|| json!({}))).context("read the limits")?,
        deadlines,
        ..Plugin::new(name.parse().context("name the backend")?, wasm)
    };
    let inner = runtime.load(plugin, services).await.with_context(|| format!("load {name}"))?;
    let breaker = BreakerConfig { failures: u32::MAX, ..BreakerConfig::default() };
    // The bulkhead's deadline stays far above the runtime's own, which is the one to be met; and no call is refused
    // because a busy machine was slow with those before it.
    let limit = LimitConfig { calls_wait: PATIENCE, probes_wait: PATIENCE, ..LimitConfig::default() };
    let config = BulkheadConfig { breaker, limit, ..BulkheadConfig::default() };
    Ok(Bulkhead::new(inner, &config, ceiling.clone()))
}

/// Workloads for the neighbour to be asked about.
async fn workloads(good: &Backend) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    for number in 0..WORKLOADS {
        let session: SessionId = format!("{number:016x}").parse().context("a session id")?;
        let name: SessionName = format!("s{number}").parse().context("a name")?;
        let mut key = Key { session, incarnation: 1, handle: None };
        let spec = SessionSpec::new("mock".parse().context("a backend")?);
        key.handle = good.create(&key, &name, &spec).await.context("create")?.handle;
        good.start(&key).await.context("start")?;
        keys.push(key);
    }
    Ok(keys)
}

/// What `cargo xtask plugins` built.
fn built(path: &str) -> Result<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    let file: PathBuf = file.canonicalize().unwrap_or(file);
    let read = std::fs::read(&file);
    let wasm = read.with_context(|| format!("read {}: `cargo xtask plugins` builds it", file.display()))?;
    ensure!(!wasm.is_empty(), "{} is empty", file.display());
    Ok(wasm)
}
