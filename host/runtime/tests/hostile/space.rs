//! A guest that takes all the room that it can get: stack, memory, tables, instances.

use seawall_backend::{ExecutionBackend, FaultKind};
use seawall_runtime::{LoadError, Plugin};
use serde_json::json;

use crate::arena::{Arena, arena, key, limits, refused};
use crate::guest::{Guest, NESTED_COMPONENT, ZERO, section};

/// `start` ends in this fault.
async fn ends(arena: &Arena, guest: Guest, kind: FaultKind, words: &'static str) {
    let hostile = arena.load(arena.plugin(&guest)).await;
    arena
        .attack(&hostile, |hostile| async move {
            refused(hostile.start(&key()).await, kind, words);
        })
        .await;
}

/// The plugin is refused before there is an instance of it.
async fn does_not_compile(arena: &Arena, guest: Guest, words: &str) {
    match arena.runtime.load_ungranted(arena.plugin(&guest)).await {
        Err(LoadError::Compile(reason)) => assert!(reason.to_string().contains(words), "{reason}"),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn deep_recursion_ends_with_the_guests_stack() {
    arena(async |arena| {
        let deep = "(func $deep (result i32) (i32.add (call $deep) (i32.const 1)))";
        ends(arena, Guest::new().field(deep).body("start", "call $deep"), FaultKind::Trap, "call stack exhausted")
            .await;
    });
}

#[test]
fn deep_recursion_in_post_return_ends_with_the_guests_stack() {
    arena(async |arena| {
        let deep = "(func $deep (result i32) (i32.add (call $deep) (i32.const 1)))";
        ends(
            arena,
            Guest::new().field(deep).post_return("start", "(drop (call $deep))"),
            FaultKind::Trap,
            "call stack exhausted",
        )
        .await;
    });
}

#[test]
fn frames_of_many_kilobytes_end_with_the_guests_stack() {
    // Every local is alive across the call: about 64 KB a frame.
    const LOCALS: usize = 8_000;
    let set: String =
        (0..LOCALS).map(|n| format!("(local.set {} (i64.load (i32.const {})))", n + 1, n * 8 % 65536)).collect();
    let sum: String = (0..LOCALS).map(|n| format!("(local.get {}) i64.add ", n + 1)).collect();
    let wide = format!(
        "(func $wide (param i32) (result i64) (local {}) {set}
           (if (result i64) (local.get 0) (then (call $wide (i32.sub (local.get 0) (i32.const 1)))) (else (i64.const 0)))
           {sum})",
        "i64 ".repeat(LOCALS)
    );
    let called = |depth| format!("(drop (call $wide (i32.const {depth}))) i32.const {ZERO}");
    arena(async |arena| {
        let guest = Guest::new()
            .field(&wide)
            .body("start", called(100))
            .body("check", format!("{} (drop) i32.const 8192", called(1)));
        assert!(arena.load(arena.plugin(&guest)).await.check().await.is_ok());
        ends(arena, guest, FaultKind::Trap, "call stack exhausted").await;
    });
}

#[test]
fn growing_memory_ends_at_the_limit() {
    // Writes to all of it, so that it is there.
    let grow = "(loop $for (br_if $for (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        (memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536))) unreachable";
    arena(async |arena| {
        ends(arena, Guest::new().body("start", grow), FaultKind::Memory, "64MiB are allowed").await;
    });
}

/// A component of so many core instances.
fn many(count: usize, module: &str) -> String {
    format!("(component (core module $m {module}) {})", "(core instance (instantiate $m))".repeat(count))
}

#[test]
fn several_memories_have_one_limit_together() {
    arena(async |arena| {
        // Each takes 24 MiB when its instance is made, or traps.
        let grows = "(memory 1)
            (func $begin (if (i32.eq (memory.grow (i32.const 383)) (i32.const -1)) (then unreachable))
              (memory.fill (i32.const 0) (i32.const 1) (i32.const 4194304)))
            (start $begin)";
        assert!(arena.runtime.load_ungranted(arena.plugin(&Guest::new().beside(many(2, grows)))).await.is_ok());
        let plugin = arena.plugin(&Guest::new().beside(many(3, grows)));
        arena.attack_by_loading(plugin, FaultKind::Memory, "64MiB are allowed").await;
    });
}

#[test]
fn a_memory_that_begins_too_large_refuses_the_plugin() {
    arena(async |arena| {
        assert!(arena.runtime.load_ungranted(arena.plugin(&Guest::new().memory("1024"))).await.is_ok());
        let plugin = arena.plugin(&Guest::new().memory("1025"));
        arena.attack_by_loading(plugin, FaultKind::Memory, "64MiB are allowed").await;
        // More than the limit of a call, and more than the pool has for any.
        does_not_compile(arena, Guest::new().memory("4097"), "memory").await;
    });
}

#[test]
fn memories_by_the_dozen_refuse_the_plugin() {
    arena(async |arena| {
        does_not_compile(arena, Guest::new().beside(many(12, "(memory 1)")), "memor").await;
        does_not_compile(arena, Guest::new().field(&"(memory 1)".repeat(12)), "memor").await;
    });
}

#[test]
fn growing_a_table_ends_at_the_limit() {
    let grow = "(loop $for
        (br_if $for (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable";
    arena(async |arena| {
        let guest = Guest::new().field("(table $table 1 funcref)").body("start", grow);
        ends(arena, guest, FaultKind::Memory, "where 100000 are allowed").await;
    });
}

#[test]
fn several_tables_have_one_limit_together() {
    arena(async |arena| {
        let four = arena.plugin(&Guest::new().beside(many(4, "(table 20000 funcref)")));
        assert!(arena.runtime.load_ungranted(four).await.is_ok());
        let six = arena.plugin(&Guest::new().beside(many(6, "(table 20000 funcref)")));
        arena.attack_by_loading(six, FaultKind::Memory, "where 100000 are allowed").await;
    });
}

#[test]
fn a_table_that_begins_too_large_refuses_the_plugin() {
    arena(async |arena| {
        does_not_compile(arena, Guest::new().field("(table 10000000 funcref)"), "table").await;
        does_not_compile(arena, Guest::new().beside(many(100, "(table 1 funcref)")), "instances").await;
    });
}

#[test]
fn core_instances_by_the_hundred_refuse_the_plugin() {
    arena(async |arena| {
        does_not_compile(arena, Guest::new().beside(many(100, "")), "instances").await;
        does_not_compile(arena, Guest::new().beside(many(49, "")), "instances").await;
    });
}

#[test]
fn more_core_instances_than_a_call_may_have_refuse_the_plugin() {
    arena(async |arena| {
        let guest = Guest::new().beside(many(20, "(func)"));
        let plugin = Plugin { limits: limits(json!({"check": {"instances": 20}})), ..arena.plugin(&guest) };
        arena.attack_by_loading(plugin, FaultKind::Limit, "resource limit exceeded").await;
    });
}

/// Components within components, each of which makes `copies` of the one below.
fn nested(depth: usize, copies: usize) -> String {
    let inner = "(component $c0 (core module $m (func)) (core instance (instantiate $m)))".to_owned();
    let component = (1..depth).fold(inner, |inner, level| {
        let instances = format!("(instance (instantiate $c{}))", level - 1).repeat(copies);
        format!("(component $c{level} {inner} {instances})")
    });
    component.replacen(&format!("(component $c{}", depth - 1), "(component", 1)
}

#[test]
fn components_nested_deeply_cost_nothing_but_their_bytes() {
    let nested = |depth| {
        let empty = wat::parse_str("(component)").unwrap();
        (1..depth).fold(empty.clone(), |inner, _| {
            let mut outer = empty.clone();
            section(&mut outer, NESTED_COMPONENT, &inner);
            outer
        })
    };
    arena(async |arena| {
        for depth in [50, 500] {
            let plugin = arena.plugin(&Guest::new().beside(nested(depth)));
            let backend = arena.load(plugin).await;
            arena.attack(&backend, |backend| async move { drop(backend.start(&key()).await.unwrap()) }).await;
        }
    });
}

#[test]
fn instances_that_double_at_each_level_refuse_the_plugin() {
    // 2^12 core instances of a component of a kilobyte.
    arena(async |arena| {
        does_not_compile(arena, Guest::new().beside(nested(13, 2)), "instances").await;
    });
}
