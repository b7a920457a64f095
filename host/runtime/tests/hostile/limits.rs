//! Every bound on a call, just below it and just above: what uses all of it passes, and one more is refused by name.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use seawall_backend::{Class, Deadlines, ExecutionBackend, Fault, FaultKind};
use seawall_model::{LogOptions, SessionSpec, Signal};
use seawall_runtime::{LimitsByClass, Plugin, Runtime, RuntimeConfig, WasmBackend};
use serde_json::json;

use crate::arena::{Arena, arena, key, limits, refused, sleeper};
use crate::guest::{Guest, NOT_FOUND, SCRATCH, ZERO};
use crate::log::logged;

/// Loads `guest` with one limit on `control` calls replaced.
async fn with(arena: &Arena, guest: &Guest, limit: &str, value: u64) -> WasmBackend {
    let limits = limits(json!({"control": {limit: value}}));
    arena.load(Plugin { limits, ..arena.plugin(guest) }).await
}

/// `start` passes with `value` of the limit, and is refused with one less.
async fn needs(arena: &Arena, guest: &Guest, limit: &str, value: u64, kind: FaultKind, words: &str) -> Fault {
    let enough = with(arena, guest, limit, value).await.start(&key()).await;
    assert!(enough.is_ok(), "{limit} of {value} is enough: {enough:?}");
    refused(with(arena, guest, limit, value - 1).await.start(&key()).await, kind, words)
}

/// The least of a limit with which `start` passes.
async fn least(arena: &Arena, guest: &Guest, limit: &str, most: u64) -> u64 {
    let (mut refused, mut enough) = (0, most);
    while enough - refused > 1 {
        let middle = refused + (enough - refused) / 2;
        match with(arena, guest, limit, middle).await.start(&key()).await {
            Ok(_) => enough = middle,
            Err(_) => refused = middle,
        }
    }
    enough
}

/// Does `what` so many times.
fn times(count: u32, what: &str) -> String {
    format!(
        "(local $left i32) (local.set $left (i32.const {count}))
         (loop $for
           {what}
           (br_if $for (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
         i32.const {ZERO}"
    )
}

#[test]
fn fuel() {
    arena(async |arena| {
        let burn = |rounds| Guest::new().body("start", times(rounds, ""));
        let (short, long) = (burn(1000), burn(2000));
        let least_of_short = least(arena, &short, "fuel", 100_000).await;
        needs(arena, &short, "fuel", least_of_short, FaultKind::Fuel, "used up its fuel").await;
        // Twice the rounds, twice the fuel.
        let least_of_long = least(arena, &long, "fuel", 100_000).await;
        assert!(least_of_long - least_of_short >= 4000, "{least_of_short} and {least_of_long}");
        needs(arena, &long, "fuel", least_of_long, FaultKind::Fuel, "used up its fuel").await;
    });
}

#[test]
fn memory() {
    arena(async |arena| {
        // Two pages to begin with, and three more.
        let grow = "(if (i32.eq (memory.grow (i32.const 3)) (i32.const -1)) (then unreachable)) i32.const 4096";
        let guest = Guest::new().body("start", grow);
        let fault = needs(arena, &guest, "memory", 5 << 16, FaultKind::Memory, "asked for 327680 bytes").await;
        assert!(fault.message.ends_with("and then failed"), "{fault}");
        let begins = needs(arena, &Guest::new(), "memory", 2 << 16, FaultKind::Memory, "asked for 131072 bytes").await;
        assert!(begins.message.ends_with("and could not be instantiated"), "{begins}");
    });
}

#[test]
fn table_elements() {
    arena(async |arena| {
        let grow = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 90)) (i32.const -1)) (then unreachable))
            i32.const 4096";
        let guest = Guest::new().field("(table $t 10 funcref)").body("start", grow);
        let fault =
            needs(arena, &guest, "table-elements", 100, FaultKind::Memory, "asked for 100 table elements").await;
        assert!(fault.message.contains("where 99 are allowed"), "{fault}");
        let begins = Guest::new().field("(table $t 10 funcref)");
        needs(arena, &begins, "table-elements", 10, FaultKind::Memory, "asked for 10 table elements").await;
    });
}

#[test]
fn one_table_may_have_all_elements_that_a_call_may_have() {
    let all = LimitsByClass::default().of(Class::Control).table_elements;
    let grow = |to: u64| {
        Guest::new().field("(table $t 0 funcref)").body(
            "start",
            format!(
                "(if (i32.eq (table.grow $t (ref.null func) (i32.const {to})) (i32.const -1)) (then unreachable))
                 i32.const {ZERO}"
            ),
        )
    };
    arena(async |arena| {
        assert!(arena.load(arena.plugin(&grow(all))).await.start(&key()).await.is_ok());
        let more = arena.load(arena.plugin(&grow(all + 1))).await;
        refused(more.start(&key()).await, FaultKind::Memory, "asked for 100001 table elements");
    });
}

/// As many are needed as there are: some without anything beside the guest, and then one more for each that is.
async fn counts_each(arena: &Arena, limit: &str, module: &str, already: u64, more: &[usize]) {
    for more in more {
        let instances = "(core instance (instantiate $m))".repeat(*more);
        let guest = Guest::new().beside(format!("(component (core module $m {module}) {instances})"));
        needs(arena, &guest, limit, already + *more as u64, FaultKind::Limit, "resource limit exceeded").await;
    }
}

#[test]
fn instances() {
    arena(async |arena| counts_each(arena, "instances", "(func)", 1, &[1, 5, 40]).await);
}

#[test]
fn memories() {
    arena(async |arena| counts_each(arena, "memories", "(memory 1)", 1, &[1, 3]).await);
}

#[test]
fn tables() {
    arena(async |arena| counts_each(arena, "tables", "(table 1 funcref)", 0, &[1, 5, 40]).await);
}

#[test]
fn a_pool_has_room_for_all_that_all_calls_may_have() {
    arena(async |arena| {
        // Each has 4 memories and about as many tables and instances as one may have, and none is turned away.
        let three = "(core instance (instantiate $m))".repeat(3);
        let more = "(core instance (instantiate $t))".repeat(42);
        let greedy = format!(
            "(component (core module $m (memory 1) (table 1 funcref)) (core module $t (table 1 funcref)) {three} {more})"
        );
        arena.fill(&arena.load(arena.plugin(&sleeper().beside(greedy))).await).await;
    });
}

#[test]
fn handles() {
    arena(async |arena| {
        let guest = Guest::new().wasi().body("start", times(7, "(drop (call $stdout))"));
        needs(arena, &guest, "handles", 7, FaultKind::Limit, "store handle limit exceeded").await;
    });
}

#[test]
fn resources() {
    arena(async |arena| {
        let guest = Guest::new().wasi().body("start", times(7, "(drop (call $stdout))"));
        needs(arena, &guest, "resources", 7, FaultKind::Limit, "held more host resources than one call may").await;
    });
}

#[test]
fn crossing() {
    arena(async |arena| {
        let write = format!("(call $write (i32.const 0) (i32.const {SCRATCH}) (i32.const 5000)) i32.const {ZERO}");
        let guest = Guest::new().import("log", "write", "(param i32 i32 i32)").body("start", write);
        needs(arena, &guest, "crossing", 5000, FaultKind::Limit, "too much data").await;
        // Each crossing by itself: two of them may copy twice as much.
        let write = times(2, &format!("(call $write (i32.const 0) (i32.const {SCRATCH}) (i32.const 5000))"));
        let guest = Guest::new().import("log", "write", "(param i32 i32 i32)").body("start", write);
        needs(arena, &guest, "crossing", 5000, FaultKind::Limit, "too much data").await;
    });
}

#[test]
fn crossing_with_an_answer() {
    arena(async |arena| {
        // A status with a handle of 4000 bytes.
        let body = format!(
            "(i32.store8 (i32.const {has}) (i32.const 1))
             (i32.store (i32.const {pointer}) (i32.const 30000)) (i32.store (i32.const {length}) (i32.const 4000))
             i32.const {SCRATCH}",
            has = SCRATCH + 104,
            pointer = SCRATCH + 108,
            length = SCRATCH + 112
        );
        let guest = Guest::new().body("start", body);
        needs(arena, &guest, "crossing", 4000, FaultKind::Limit, "too much data").await;
    });
}

#[test]
fn calls() {
    arena(async |arena| {
        let guest = Guest::new().import("clock", "now", "(result i64)").body("start", times(7, "(drop (call $now))"));
        needs(arena, &guest, "calls", 7, FaultKind::Limit, "made more calls to the host than one call may").await;
    });
}

#[test]
fn bytes() {
    arena(async |arena| {
        // Each asks with a key of 9 bytes, and gets nothing.
        let get = "(call $get (i32.const 30000) (i32.const 9) (i32.const 20008))";
        let guest = Guest::new().import("config", "get", "(param i32 i32 i32)").body("start", times(7, get));
        needs(arena, &guest, "bytes", 63, FaultKind::Limit, "moved more bytes to and from the host").await;
        // An answer counts too: the whole configuration is `{}`.
        let guest = Guest::new()
            .import("config", "all", "(param i32)")
            .body("start", times(7, "(call $all (i32.const 20008))"));
        needs(arena, &guest, "bytes", 14, FaultKind::Limit, "moved more bytes to and from the host").await;
    });
}

/// What exceeds it ends no call: it is dropped, and how much that was is said.
#[test]
fn log_bytes() {
    arena(async |arena| {
        for (count, dropped) in [(10, 0), (11, 1), (14, 4)] {
            let write = "(call $write (i32.const 3) (i32.const 30000) (i32.const 10))";
            let guest = Guest::new()
                .import("log", "write", "(param i32 i32 i32)")
                .field("(data (i32.const 30000) \"ten bytes.\")")
                .body("start", times(count, write));
            // A line costs 32 bytes besides its own.
            let limits = limits(json!({"control": {"log": "420B"}}));
            let backend = arena.load(Plugin { limits, ..arena.plugin(&guest) }).await;
            let (answer, text) = logged(backend.start(&key())).await;
            assert!(answer.is_ok());
            assert_eq!(text.matches("ten bytes.").count() as u32, count - dropped, "{text}");
            let said = format!("{dropped} lines of its log ({} bytes) were dropped", 10 * dropped);
            assert_eq!(text.contains(&said), dropped > 0, "{text}");
        }
    });
}

#[test]
fn calls_at_one_time() {
    arena(async |arena| arena.every_place_is_free().await);
}

#[test]
fn a_call_that_burns_more_than_a_quantum_yields() {
    arena(async |arena| {
        let guest = Guest::new().body("start", times(2_000_000, "")).body("signal", times(10, ""));
        let backend = arena.load(arena.plugin(&guest)).await;
        let key = key();
        let mut short = Box::pin(backend.signal(&key, Signal::TERM));
        assert!(poll_fn(|context| Poll::Ready(short.as_mut().poll(context))).await.is_ready());
        let mut long = Box::pin(backend.start(&key));
        assert!(poll_fn(|context| Poll::Ready(long.as_mut().poll(context))).await.is_pending());
        assert!(long.await.is_ok());
    });
}

/// Sleeps so many milliseconds in every function.
fn sleeping(millis: u64) -> Guest {
    let sleep = |answer| format!("(call $sleep (i64.const {millis})) i32.const {answer}");
    let guest = Guest::new().logs().import("clock", "sleep", "(param i64)");
    let guest = guest.body("check", sleep(8192)).body("logs", sleep(NOT_FOUND));
    ["create", "start", "signal", "remove", "inspect", "list"]
        .into_iter()
        .fold(guest, |guest, function| guest.body(function, sleep(ZERO)))
}

/// A clock that moves when there is nothing else to do.
#[tokio::test(start_paused = true)]
async fn the_deadline_of_each_class() {
    let deadlines = Deadlines {
        check: Duration::from_millis(1000),
        observe: Duration::from_millis(2000),
        control: Duration::from_millis(3000),
        stream: Duration::from_millis(4000),
        long: Duration::from_millis(5000),
    };
    let runtime = Runtime::new(RuntimeConfig::default()).unwrap();
    let load = async |millis| {
        let plugin = Plugin::new("box".parse().unwrap(), sleeping(millis).component());
        runtime.load_ungranted(Plugin { deadlines: Some(deadlines), ..plugin }).await.unwrap()
    };
    let name = "web".parse().unwrap();
    let spec = SessionSpec::new("box".parse().unwrap());
    let just_below = async |deadline: Duration| load(deadline.as_millis() as u64 - 2).await;
    let just_above = async |deadline: Duration| load(deadline.as_millis() as u64 + 2).await;
    let late = |answer, deadline: Duration| {
        refused(answer, FaultKind::Deadline, &format!("its deadline of {deadline:?}"));
    };

    assert!(just_below(deadlines.check).await.check().await.is_ok());
    late(just_above(deadlines.check).await.check().await.map(drop), deadlines.check);

    let backend = just_below(deadlines.observe).await;
    assert!(backend.inspect(&[key()]).await.is_ok());
    assert!(backend.list(None).await.is_ok());
    let backend = just_above(deadlines.observe).await;
    late(backend.inspect(&[key()]).await.map(drop), deadlines.observe);
    late(backend.list(None).await.map(drop), deadlines.observe);

    let backend = just_below(deadlines.control).await;
    assert!(backend.create(&key(), &name, &spec).await.is_ok());
    assert!(backend.start(&key()).await.is_ok());
    assert!(backend.signal(&key(), Signal::TERM).await.is_ok());
    assert!(backend.remove(&key(), true).await.is_ok());
    let backend = just_above(deadlines.control).await;
    late(backend.create(&key(), &name, &spec).await.map(drop), deadlines.control);
    late(backend.start(&key()).await.map(drop), deadlines.control);
    late(backend.signal(&key(), Signal::TERM).await, deadlines.control);
    late(backend.remove(&key(), true).await, deadlines.control);

    let logs = async |backend: WasmBackend| backend.logs(&key(), &LogOptions::default()).await.map(drop);
    assert_eq!(logs(just_below(deadlines.stream).await).await.unwrap_err().kind(), "not_found");
    late(logs(just_above(deadlines.stream).await).await, deadlines.stream);
}
