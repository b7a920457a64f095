//! What a call gives, and how each way to end it is told from the others.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

#[expect(dead_code, reason = "each test binary uses another part")]
mod guest;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use guest::{Guest, NOT_FOUND, SCRATCH, ZERO};
use seawall_backend::observer::{Called, Observer, Used};
use seawall_backend::{Deadlines, Error, ExecutionBackend, Fault, FaultKind};
use seawall_model::{Key, Secret, SessionName, SessionSpec, Signal, State};
use seawall_runtime::{ClassOverrides, LoadError, Overrides, Plugin, Pool, Runtime, RuntimeConfig, WasmBackend};

fn runtime() -> Runtime {
    let pool = Pool { calls: 16, ..Pool::default() };
    Runtime::new(RuntimeConfig { pool, ..RuntimeConfig::default() }).unwrap()
}

async fn load(guest: &Guest) -> WasmBackend {
    runtime().load_ungranted(plugin(guest)).await.unwrap()
}

fn plugin(guest: &Guest) -> Plugin {
    Plugin::new("box".parse().unwrap(), guest.component())
}

fn key() -> Key {
    Key { session: "0123456789abcdef".parse().unwrap(), incarnation: 1, handle: Some(b"h".to_vec()) }
}

fn fault<T: std::fmt::Debug>(answer: Result<T, Error>) -> Fault {
    match answer {
        Err(Error::Fault(fault)) => fault,
        other => panic!("no fault: {other:?}"),
    }
}

#[tokio::test]
async fn a_backend_says_who_it_is_and_answers() {
    let backend = load(&Guest::new()).await;
    assert_eq!(backend.info().name, "test");
    assert_eq!(backend.info().version, "1.2.3");
    assert_eq!(backend.check().await.unwrap().version, "7");
    assert_eq!(backend.start(&key()).await.unwrap().state, State::Created);
    backend.signal(&key(), Signal::TERM).await.unwrap();
    backend.remove(&key(), true).await.unwrap();
    assert!(backend.inspect(&[key()]).await.unwrap().found.is_empty());
    assert!(backend.list(None).await.unwrap().workloads.is_empty());
    let mut spec = SessionSpec::new("box".parse().unwrap());
    spec.env.insert("TOKEN".to_owned(), Secret::new("hunter2"));
    let name: SessionName = "web".parse().unwrap();
    assert_eq!(backend.create(&key(), &name, &spec).await.unwrap().state, State::Created);
}

#[tokio::test]
async fn the_plugins_own_error_is_no_fault() {
    let backend = load(&Guest::new().body("check", format!("i32.const {NOT_FOUND}"))).await;
    assert_eq!(backend.check().await, Err(Error::NotFound("nothing here".to_owned())));
}

#[tokio::test]
async fn nothing_of_a_call_is_left_for_the_next() {
    // Traps if its memory was touched before.
    let touched = format!(
        "(if (i32.load (i32.const {SCRATCH})) (then unreachable))
         (i32.store (i32.const {SCRATCH}) (i32.const 1))
         i32.const {ZERO}"
    );
    let backend = load(&Guest::new().body("start", touched)).await;
    for _ in 0..20 {
        backend.start(&key()).await.unwrap();
    }
}

#[tokio::test]
async fn a_trap_names_the_guests_functions() {
    let guest = Guest::new()
        .field("(func $_ZN4mock5inner17h0123456789abcdefE unreachable)")
        .body("check", "call $_ZN4mock5inner17h0123456789abcdefE i32.const 0");
    let fault = fault(load(&guest).await.check().await);
    assert_eq!((fault.kind, fault.function), (FaultKind::Trap, "execution-backend.check"));
    assert!(fault.message.contains("unreachable"), "{}", fault.message);
    assert!(fault.backtrace[0].starts_with("mock::inner"), "{:?}", fault.backtrace);
    assert!(!fault.backtrace[0].contains("0123456789abcdef"), "{:?}", fault.backtrace);
}

#[tokio::test]
async fn a_spinning_plugin_runs_out_of_fuel() {
    let guest = Guest::new().body("check", "(loop $for (br $for)) unreachable");
    let check = Overrides { fuel: Some(1_000_000), ..Overrides::default() };
    let plugin = Plugin { limits: ClassOverrides { check, ..ClassOverrides::default() }, ..plugin(&guest) };
    let backend = runtime().load_ungranted(plugin).await.unwrap();
    assert_eq!(fault(backend.check().await).kind, FaultKind::Fuel);
    assert!(backend.start(&key()).await.is_ok());
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<Used>>);

impl Observer for Told {
    fn called(&self, called: Called) {
        panic!("the bulkhead alone tells of calls: {called:?}");
    }

    fn used(&self, used: Used) {
        self.0.lock().unwrap().push(used);
    }
}

#[tokio::test]
async fn what_a_call_took_is_told_however_it_ends() {
    let guest = Guest::new()
        .body("check", "(drop (memory.grow (i32.const 3))) i32.const 8192")
        .body("list", "unreachable")
        .body("inspect", "(loop $for (br $for)) unreachable");
    let observe = Overrides { fuel: Some(50_000_000_000), ..Overrides::default() };
    let limits = ClassOverrides { observe, ..ClassOverrides::default() };
    let told = Arc::new(Told::default());
    let backend = runtime().load_ungranted(Plugin { limits, ..plugin(&guest) }).await.unwrap();
    let backend = backend.observed_by(told.clone());
    backend.check().await.unwrap();
    backend.list(None).await.unwrap_err();
    // Cut off by whoever called.
    let keys = [key()];
    let spin = backend.inspect(&keys);
    assert!(tokio::time::timeout(Duration::from_millis(100), spin).await.is_err());
    let told = told.0.lock().unwrap();
    let of: Vec<_> = told.iter().map(|used| (used.function, used.memory >> 16)).collect();
    assert_eq!(of, [("check", 5), ("list", 2), ("inspect", 2)], "{told:?}");
    assert!((1..1000).contains(&told[0].fuel) && told[2].fuel > 1_000_000, "{told:?}");
}

#[tokio::test]
async fn the_pool_tells_what_of_it_is_in_use() {
    let runtime = runtime();
    let before = runtime.pool_use();
    assert_eq!((before.components.used, before.components.all, before.memories.used), (0, 16, 0));
    let guest = Guest::new().body("check", "(loop $for (br $for)) unreachable");
    let check = Overrides { fuel: Some(u64::MAX / 2), ..Overrides::default() };
    let limits = ClassOverrides { check, ..ClassOverrides::default() };
    let backend = runtime.load_ungranted(Plugin { limits, ..plugin(&guest) }).await.unwrap();
    let spin = tokio::spawn(async move { backend.check().await });
    while runtime.pool_use().components.used == 0 {
        assert!(!spin.is_finished());
        tokio::task::yield_now().await;
    }
    let during = runtime.pool_use();
    assert_eq!((during.components.used, during.instances.used, during.memories.used, during.stacks.used), (1, 1, 1, 1));
    spin.abort();
    assert!(spin.await.unwrap_err().is_cancelled());
    assert_eq!(runtime.pool_use().components.used, 0);
}

#[tokio::test]
async fn a_spinning_plugin_does_not_slow_its_neighbour() {
    // On one thread: the neighbour only runs because the spinning guest yields.
    let check = Overrides { fuel: Some(u64::MAX / 2), ..Overrides::default() };
    let limits = ClassOverrides { check, ..ClassOverrides::default() };
    let guest = Guest::new().body("check", "(loop $for (br $for)) unreachable");
    let runtime = runtime();
    let spinning = runtime.load_ungranted(Plugin { limits, ..plugin(&guest) }).await.unwrap();
    let neighbour = runtime.load_ungranted(plugin(&Guest::new())).await.unwrap();
    let spin = tokio::spawn(async move { spinning.check().await });
    for _ in 0..10 {
        assert!(neighbour.check().await.is_ok());
        tokio::task::yield_now().await;
        assert!(!spin.is_finished());
    }
    spin.abort();
    assert!(spin.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn memory_is_refused_and_the_refusal_is_told() {
    let hog = "(if (i32.eq (memory.grow (i32.const 2000)) (i32.const -1)) (then unreachable)) i32.const 0";
    let fault = fault(load(&Guest::new().body("check", hog)).await.check().await);
    assert_eq!(fault.kind, FaultKind::Memory);
    assert!(fault.message.contains("64MiB are allowed"), "{}", fault.message);
}

#[tokio::test]
async fn a_guest_that_lives_with_a_refusal_answers() {
    let modest = format!("(drop (memory.grow (i32.const 2000))) i32.const {ZERO}");
    assert!(load(&Guest::new().body("start", modest)).await.start(&key()).await.is_ok());
}

#[tokio::test]
async fn a_sleeping_plugin_meets_its_deadline() {
    let guest = Guest::new()
        .import("clock", "sleep", "(param i64)")
        .body("check", "(call $sleep (i64.const 3600000)) i32.const 0");
    let deadlines = Deadlines { check: Duration::from_millis(50), ..Deadlines::default() };
    let plugin = Plugin { deadlines: Some(deadlines), ..plugin(&guest) };
    let backend = runtime().load_ungranted(plugin).await.unwrap();
    assert_eq!(fault(backend.check().await).kind, FaultKind::Deadline);
    // Behind a bulkhead the one deadline is the bulkhead's.
    let longer = backend.untimed();
    assert!(tokio::time::timeout(Duration::from_millis(500), longer.check()).await.is_err());
}

/// A paused clock only moves while nothing runs: the timer never comes, and the turn that begins too late is all there is.
#[tokio::test(start_paused = true)]
async fn a_turn_that_begins_after_the_deadline_ends_what_no_timer_could() {
    let check = Overrides { fuel: Some(u64::MAX / 2), ..Overrides::default() };
    let limits = ClassOverrides { check, ..ClassOverrides::default() };
    let deadlines = Deadlines { check: Duration::from_millis(20), ..Deadlines::default() };
    let guest = Guest::new().body("check", "(loop $for (br $for)) unreachable");
    let plugin = Plugin { limits, deadlines: Some(deadlines), ..plugin(&guest) };
    let backend = runtime().load_ungranted(plugin).await.unwrap();
    assert_eq!(fault(backend.check().await).kind, FaultKind::Deadline);
}

#[tokio::test]
async fn dropping_a_call_ends_it_and_frees_its_place() {
    let guest = Guest::new()
        .import("clock", "sleep", "(param i64)")
        .body("check", "(call $sleep (i64.const 3600000)) i32.const 0");
    let pool = Pool { calls: 2, ..Pool::default() };
    let runtime = Runtime::new(RuntimeConfig { pool, ..RuntimeConfig::default() }).unwrap();
    let backend = runtime.load_ungranted(plugin(&guest)).await.unwrap();
    for _ in 0..20 {
        let cut = tokio::time::timeout(Duration::from_millis(1), backend.check()).await;
        assert!(cut.is_err());
    }
    assert!(backend.start(&key()).await.is_ok());
}

#[tokio::test]
async fn a_full_pool_is_said_to_be_full() {
    let guest = Guest::new()
        .import("clock", "sleep", "(param i64)")
        .body("check", "(call $sleep (i64.const 3600000)) i32.const 0");
    let pool = Pool { calls: 1, ..Pool::default() };
    let runtime = Runtime::new(RuntimeConfig { pool, ..RuntimeConfig::default() }).unwrap();
    let backend = runtime.load_ungranted(plugin(&guest)).await.unwrap();
    let sleeping = backend.clone();
    let task = tokio::spawn(async move { sleeping.check().await });
    // On one thread: the other task runs, until it sleeps, before this one goes on.
    tokio::task::yield_now().await;
    let fault = fault(backend.start(&key()).await);
    assert_eq!(fault.kind, FaultKind::PoolFull);
    assert!(fault.message.contains("runtime.pool"), "{}", fault.message);
    task.abort();
}

#[tokio::test]
async fn too_many_host_calls_end_the_call() {
    let guest = Guest::new()
        .import("clock", "now", "(result i64)")
        .body("check", "(loop $for (drop (call $now)) (br $for)) unreachable");
    let fault = fault(load(&guest).await.check().await);
    assert_eq!(fault.kind, FaultKind::Limit);
    assert!(fault.message.contains("more calls to the host"), "{}", fault.message);
}

#[tokio::test]
async fn one_huge_argument_ends_the_call() {
    // 40 MiB as one line of log: more than one crossing may copy.
    let guest = Guest::new()
        .import("log", "write", "(param i32 i32 i32)")
        .body("check", "(drop (memory.grow (i32.const 700))) (call $write (i32.const 0) (i32.const 0) (i32.const 41943040)) i32.const 0");
    assert_eq!(fault(load(&guest).await.check().await).kind, FaultKind::Limit);
}

#[tokio::test]
async fn a_flood_of_log_lines_ends_no_call() {
    let (lines, _guard) = captured();
    let guest = Guest::new().import("log", "write", "(param i32 i32 i32)").body(
        "start",
        format!(
            "(local $left i32) (local.set $left (i32.const 1000))
             (loop $for
               (call $write (i32.const 4) (i32.const {SCRATCH}) (i32.const 40000))
               (br_if $for (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
             i32.const {ZERO}"
        ),
    );
    assert!(load(&guest).await.start(&key()).await.is_ok());
    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    assert!(text.contains("999 lines of its log (39960000 bytes) were dropped"), "{text}");
}

#[tokio::test]
async fn too_many_handles_end_the_call() {
    let guest = Guest::new().wasi().body("check", "(loop $for (drop (call $stdout)) (br $for)) unreachable");
    let check = Overrides { handles: Some(10), ..Overrides::default() };
    let limits = ClassOverrides { check, ..ClassOverrides::default() };
    let backend = runtime().load_ungranted(Plugin { limits, ..plugin(&guest) }).await.unwrap();
    assert_eq!(fault(backend.check().await).kind, FaultKind::Limit);
}

#[tokio::test]
async fn too_many_resources_of_the_host_end_the_call() {
    let guest = Guest::new().wasi().body("check", "(loop $for (drop (call $stdout)) (br $for)) unreachable");
    let check = Overrides { resources: Some(10), ..Overrides::default() };
    let limits = ClassOverrides { check, ..ClassOverrides::default() };
    let backend = runtime().load_ungranted(Plugin { limits, ..plugin(&guest) }).await.unwrap();
    assert_eq!(fault(backend.check().await).kind, FaultKind::Limit);
}

#[tokio::test]
async fn too_many_core_instances_end_the_call() {
    // A component with an import has more than one: the encoder adds two that connect it.
    let guest = Guest::new()
        .import("clock", "now", "(result i64)")
        .import("log", "write", "(param i32 i32 i32)")
        .body("check", "(drop (call $now)) (call $write (i32.const 0) (i32.const 0) (i32.const 0)) i32.const 0");
    let check = Overrides { instances: Some(1), ..Overrides::default() };
    let limits = ClassOverrides { check, ..ClassOverrides::default() };
    let error = runtime().load_ungranted(Plugin { limits, ..plugin(&guest) }).await.unwrap_err();
    let LoadError::Trial(fault) = &error else { panic!("{error}") };
    assert_eq!(fault.kind, FaultKind::Limit, "{error}");
}

/// What the daemon's log gets, while the guard lives.
fn captured() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Lines(writer.clone())).finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_a_wasi_guest_prints_is_a_line_of_its_log() {
    let (lines, _guard) = captured();
    let guest = Guest::new().wasi().field(r#"(data (i32.const 20000) "one\ntwo")"#).body(
        "check",
        format!("(call $print (call $stdout) (i32.const 20000) (i32.const 7) (i32.const {SCRATCH})) i32.const 8192"),
    );
    load(&guest).await.check().await.unwrap();
    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    assert!(text.contains("seawall::plugin") && text.contains("one") && text.contains("two"), "{text}");
    assert!(text.lines().any(|line| line.contains("two") && line.contains("box") && !line.contains("one")), "{text}");
}

#[tokio::test]
async fn a_long_line_of_a_wasi_guest_is_one_and_is_redacted_before_it_is_cut() {
    let print = |length: u32| {
        let (text, log) = (20000..20000 + length, format!("i32.const {SCRATCH}"));
        let pieces = text.step_by(4000).map(|at| {
            format!(
                "(call $print (call $stdout) (i32.const {at}) (i32.const {}) ({log}))",
                (20000 + length - at).min(4000)
            )
        });
        // A secret that begins just before the 8 KiB that are shown.
        Guest::new().wasi().field("(data (i32.const 30000) \"hunter2\")").body(
            "create",
            format!(
                "(memory.fill (i32.const 20000) (i32.const 120) (i32.const {length}))
                 (memory.copy (i32.const 28189) (i32.const 30000) (i32.const 7)) {} i32.const {ZERO}",
                pieces.collect::<String>()
            ),
        )
    };
    let mut spec = SessionSpec::new("box".parse().unwrap());
    spec.env.insert("TOKEN".to_owned(), Secret::new("hunter2"));
    for (length, said) in [(10_000, "x[re…"), (66_000, "1 lines of its log (66000 bytes) were dropped")] {
        let (lines, _guard) = captured();
        load(&print(length)).await.create(&key(), &"web".parse().unwrap(), &spec).await.unwrap();
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let told = text.lines().filter(|line| line.contains("seawall::plugin")).count();
        assert!(told == 1 && text.contains(said) && !text.contains("hun"), "{told} lines: {text}");
    }
}

#[tokio::test]
async fn a_plugins_log_and_errors_keep_the_sessions_secrets() {
    let (lines, _guard) = captured();
    // Logs and answers with a text that holds the secret.
    let guest = Guest::new()
        .import("log", "write", "(param i32 i32 i32)")
        .field(r#"(data (i32.const 20000) "the token is hunter2")"#)
        .body(
            "create",
            format!(
                "(call $write (i32.const 2) (i32.const 20000) (i32.const 20))
                 (i32.store8 (i32.const {SCRATCH}) (i32.const 1))
                 (i32.store (i32.const {pointer}) (i32.const 20000)) (i32.store (i32.const {length}) (i32.const 20))
                 i32.const {SCRATCH}",
                pointer = SCRATCH + 16,
                length = SCRATCH + 20
            ),
        );
    let mut spec = SessionSpec::new("box".parse().unwrap());
    spec.env.insert("TOKEN".to_owned(), Secret::new("hunter2"));
    let error = load(&guest).await.create(&key(), &"web".parse().unwrap(), &spec).await.unwrap_err();
    assert_eq!(error, Error::NotFound("the token is [redacted]".to_owned()));
    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    assert!(text.contains("the token is [redacted]") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn wild_pointers_are_a_bad_answer() {
    for pointer in ["-8", "131072", "1"] {
        let guest = Guest::new().body("check", format!("i32.const {pointer}"));
        let fault = fault(load(&guest).await.check().await);
        assert_eq!(fault.kind, FaultKind::BadAnswer, "{pointer}: {}", fault.message);
    }
}

#[tokio::test]
async fn answers_that_cannot_be_are_refused() {
    // Two answers about position 0.
    let twice = format!(
        "(i32.store (i32.const {list}) (i32.const {ZERO})) (i32.store (i32.const {length}) (i32.const 2))
         i32.const {SCRATCH}",
        list = SCRATCH + 8,
        length = SCRATCH + 12
    );
    let backend = load(&Guest::new().body("inspect", twice)).await;
    let answer = fault(backend.inspect(&[key(), key()]).await);
    assert_eq!(answer.kind, FaultKind::BadAnswer);
    assert!(answer.message.contains("0 is there twice"), "{}", answer.message);

    // Ended, and no exit.
    let dead = format!("(i32.store8 (i32.const {}) (i32.const 4)) i32.const {SCRATCH}", SCRATCH + 8);
    let answer = fault(load(&Guest::new().body("start", dead)).await.start(&key()).await);
    assert!(answer.message.contains("status.exit"), "{}", answer.message);

    // A cursor that leads to itself.
    let circle = format!(
        "(i32.store8 (i32.const {next}) (i32.const 1))
         (i32.store (i32.const {pointer}) (local.get 1)) (i32.store (i32.const {length}) (local.get 2))
         i32.const {SCRATCH}",
        next = SCRATCH + 16,
        pointer = SCRATCH + 20,
        length = SCRATCH + 24
    );
    let backend = load(&Guest::new().body("list", circle)).await;
    assert_eq!(fault(backend.list(Some("x")).await).kind, FaultKind::BadAnswer);
}

#[tokio::test]
async fn a_batch_of_any_size_is_asked_in_parts() {
    // Answers about position 0 of whatever it is asked.
    let first = format!(
        "(i32.store (i32.const {list}) (i32.const {ZERO})) (i32.store (i32.const {length}) (i32.const 1))
         i32.const {SCRATCH}",
        list = SCRATCH + 8,
        length = SCRATCH + 12
    );
    let backend = load(&Guest::new().body("inspect", first)).await;
    let keys = vec![key(); 2500];
    let positions: Vec<_> = backend.inspect(&keys).await.unwrap().found.iter().map(|found| found.position).collect();
    assert_eq!(positions, [0, 1000, 2000]);
    assert!(backend.inspect(&[]).await.unwrap().found.is_empty());
}

#[tokio::test]
async fn a_plugin_without_logs_says_so() {
    let error = load(&Guest::new()).await.logs(&key(), &Default::default()).await.err().unwrap();
    assert_eq!(error.kind(), "unsupported");
    let error = load(&Guest::new().logs()).await.logs(&key(), &Default::default()).await.err().unwrap();
    assert_eq!(error, Error::NotFound("nothing here".to_owned()));
}
