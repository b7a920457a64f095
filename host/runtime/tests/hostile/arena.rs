//! Where an attack is made: a hostile guest and a well-behaved neighbour on one [`Runtime`].
//!
//! ```text
//!   arena(async |arena| {
//!       let hostile = arena.load(arena.plugin(&Guest::new().body("check", "unreachable"))).await;
//!       arena.attack(&hostile, |hostile| async move {
//!           refused(hostile.check().await, FaultKind::Trap, "unreachable");
//!       }).await;
//!   });
//! ```
//!
//! [`Arena::attack`] makes the attack again and again, by more attackers than the executor has threads, so that each of
//! them is often inside a hostile guest, while the neighbour makes one call after the other. It asserts that
//!
//! - every answer of the neighbour is right, and that it came forward while the attack went on;
//! - resident memory, after all of it, is where it was after the first rounds, give or take [`TOLERANCE`];
//! - no file descriptor and no thread is left, and every place in the pool is free.
//!
//! Arenas are built one at a time, since what they count belongs to the whole process.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use seawall_backend::{Error, ExecutionBackend, Fault, FaultKind};
use seawall_model::{Key, Size, State};
use seawall_runtime::{ClassOverrides, LoadError, Plugin, Pool, Runtime, RuntimeConfig, WasmBackend};

use crate::guest::{Guest, ZERO};

/// Threads of the executor.
const WORKERS: usize = 2;
/// Attacks at one time.
const ATTACKERS: usize = 2 * WORKERS;
/// How often each attacker attacks before anything is compared, and how often afterwards.
const WARM_UP: usize = 4;
const ROUNDS: usize = 8;
/// What the neighbour must get done during the attack.
const PROGRESS: u64 = 100;
/// By how much resident memory may have grown: what allocator and pool keep for the next call, an eighth of the memory
/// that one guest may take.
pub(crate) const TOLERANCE: u64 = 8 << 20;
/// Calls at one time.
const CALLS: u32 = 8;
/// A test that waits this long waits for something that never comes.
const HANGS: Duration = Duration::from_secs(600);

/// How long what was taken may take to come back.
const GIVES_BACK: Duration = Duration::from_secs(60);

static ALONE: Mutex<()> = Mutex::new(());

/// Opens an arena, alone in the process, for one test.
pub(crate) fn arena<T>(test: impl AsyncFnOnce(&Arena) -> T) -> T {
    arena_with(RuntimeConfig::default(), test)
}

/// The same with a configuration of its own, but for the pool's number of calls and what it keeps.
pub(crate) fn arena_with<T>(config: RuntimeConfig, test: impl AsyncFnOnce(&Arena) -> T) -> T {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Threads that compile end soon after they did, so that those that are left can be counted.
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_keep_alive(Duration::from_millis(10))
        .enable_all()
        .build()
        .unwrap();
    executor.block_on(async {
        // What a place keeps for its next call is no loss: all places together keep half of what is tolerated.
        let pool = Pool { calls: CALLS, keep_resident: Size(64 << 10), ..config.pool };
        // So that an attack that loads a plugin does not compile it each time.
        let cache = tempfile::tempdir().unwrap();
        let cached = Some(cache.path().join("cache"));
        let runtime = Runtime::new(RuntimeConfig { pool, cache: cached, ..config }).unwrap();
        let neighbour = runtime.load_ungranted(plugin("neighbour", &sleeper())).await.unwrap();
        let arena = Arena { runtime, neighbour };
        let done = tokio::time::timeout(HANGS, test(&arena)).await.expect("the attack does not end");
        arena.runtime.shutdown();
        done
    })
}

/// A runtime with a well-behaved neighbour.
pub(crate) struct Arena {
    /// What both run on.
    pub(crate) runtime: Runtime,
    neighbour: WasmBackend,
}

impl Arena {
    /// A hostile plugin, to be changed and loaded.
    pub(crate) fn plugin(&self, guest: &Guest) -> Plugin {
        plugin("hostile", guest)
    }

    /// Loads it with no grant.
    pub(crate) async fn load(&self, plugin: Plugin) -> WasmBackend {
        self.runtime.load_ungranted(plugin).await.unwrap()
    }

    /// Makes an attack as the module says. `attack` asserts the host's answer, each time, and gets a clone of `target`.
    pub(crate) async fn attack<T, F>(&self, target: &T, attack: impl Fn(T) -> F)
    where
        T: Clone,
        F: Future<Output = ()> + Send + 'static,
    {
        let neighbour = Neighbour::start(&self.neighbour);
        let round = async || {
            let attackers: Vec<_> = (0..ATTACKERS).map(|_| tokio::spawn(attack(target.clone()))).collect();
            for attacker in attackers {
                if let Err(failed) = attacker.await {
                    std::panic::resume_unwind(failed.into_panic());
                }
            }
        };
        for _ in 0..WARM_UP {
            round().await;
        }
        let before = Taken::now();
        let begun = neighbour.calls();
        for _ in 0..ROUNDS {
            round().await;
        }
        while neighbour.calls() < begun + PROGRESS {
            round().await;
        }
        neighbour.stop().await;
        before.comes_back().await;
        self.every_place_is_free().await;
    }

    /// The same with loading the plugin: it must end in this fault.
    pub(crate) async fn attack_by_loading(&self, plugin: Plugin, kind: FaultKind, words: &'static str) {
        self.attack(&(self.runtime.clone(), plugin), |(runtime, plugin)| async move {
            match runtime.load_ungranted(plugin).await {
                Err(LoadError::Trial(fault)) => drop(refused::<()>(Err(fault.into()), kind, words)),
                other => panic!("no fault: {other:?}"),
            }
        })
        .await;
    }

    /// No place in the pool is lost.
    pub(crate) async fn every_place_is_free(&self) {
        self.fill(&self.neighbour).await;
    }

    /// As many calls as the pool has room for run at one time, and one more finds it full. `list` of `backend` sleeps.
    pub(crate) async fn fill(&self, backend: &WasmBackend) {
        let mut asleep: Vec<_> = (0..CALLS).map(|_| Box::pin(backend.list(None))).collect();
        for call in &mut asleep {
            let now = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
            assert!(now.is_pending(), "a place in the pool is missing: {now:?}");
        }
        refused(self.neighbour.check().await, FaultKind::PoolFull, "found no free instance");
        drop(asleep);
        assert_eq!(self.neighbour.check().await.unwrap().version, "7");
    }
}

fn plugin(name: &str, guest: &Guest) -> Plugin {
    Plugin::new(name.parse().unwrap(), guest.component())
}

/// A guest that answers well, but whose `list` sleeps until it is dropped.
pub(crate) fn sleeper() -> Guest {
    Guest::new()
        .import("clock", "sleep", "(param i64)")
        .body("list", format!("(call $sleep (i64.const 3600000)) i32.const {ZERO}"))
}

/// A key to ask about.
pub(crate) fn key() -> Key {
    Key { session: "0123456789abcdef".parse().unwrap(), incarnation: 1, handle: Some(b"h".to_vec()) }
}

/// Limits as configuration gives them.
pub(crate) fn limits(table: serde_json::Value) -> ClassOverrides {
    serde_json::from_value(table).unwrap()
}

/// Asserts that a call ended in a fault of this kind that says these words, in terms that can be shown to people.
#[track_caller]
pub(crate) fn refused<T: Debug>(answer: Result<T, Error>, kind: FaultKind, words: &str) -> Fault {
    let Err(Error::Fault(fault)) = answer else { panic!("no fault: {answer:?}") };
    assert_eq!(fault.kind, kind, "{fault}");
    assert!(fault.message.contains(words), "{words:?} is not said: {fault}");
    let shown = fault.backtrace.iter().map(String::len).sum::<usize>() + fault.message.len();
    assert!(shown < 64 << 10, "{shown} bytes to show");
    assert!(!fault.message.contains(char::is_control), "{fault}");
    fault
}

/// One that calls all the time, and looks at each answer.
struct Neighbour {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    calls: AtomicU64,
}

impl Neighbour {
    fn start(backend: &WasmBackend) -> Self {
        let shared = Arc::new(Shared::default());
        let (seen, backend) = (shared.clone(), backend.clone());
        let task = tokio::spawn(async move {
            while !seen.stop.load(Ordering::Relaxed) {
                assert_eq!(backend.check().await.unwrap().version, "7");
                assert_eq!(backend.start(&key()).await.unwrap().state, State::Created);
                assert!(backend.inspect(&vec![key(); 10]).await.unwrap().found.is_empty());
                seen.calls.fetch_add(3, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        Self { shared, task }
    }

    /// How many were answered.
    fn calls(&self) -> u64 {
        assert!(!self.task.is_finished(), "the neighbour's call failed: its panic is printed above");
        self.shared.calls.load(Ordering::Relaxed)
    }

    async fn stop(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every call of the neighbour succeeds");
    }
}

/// The most resident memory that the process had, in bytes, while `work` was done.
pub(crate) async fn peak<T>(work: impl Future<Output = T>) -> u64 {
    // Sets the mark back to what is resident now.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    work.await;
    kilobytes("VmHWM:") << 10
}

/// What is resident now, in bytes.
pub(crate) fn resident() -> u64 {
    kilobytes("VmRSS:") << 10
}

/// A line of what the system says of the process.
fn kilobytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok()).unwrap()
}

/// What the process has of the system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    resident: u64,
    descriptors: usize,
    threads: usize,
}

impl Taken {
    pub(crate) fn now() -> Self {
        let entries = |dir| std::fs::read_dir(dir).unwrap().flatten();
        // Threads of the test harness, which starts and ends them as it likes, are named for their test.
        let ours = |task: &std::fs::DirEntry| {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            name.starts_with("tokio") || name.starts_with("seawall")
        };
        Self {
            resident: resident(),
            descriptors: entries("/proc/self/fd").count(),
            threads: entries("/proc/self/task").filter(ours).count(),
        }
    }

    /// Waits until the process has no more than then.
    pub(crate) async fn comes_back(self) {
        let is_back = async {
            loop {
                let now = Self::now();
                if now.resident <= self.resident + TOLERANCE
                    && now.descriptors <= self.descriptors
                    && now.threads <= self.threads
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(GIVES_BACK, is_back).await.is_err() {
            panic!("what was taken does not come back: {self:?} before, {:?} after", Self::now());
        }
    }
}
