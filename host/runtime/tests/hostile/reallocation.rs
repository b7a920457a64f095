//! `cabi_realloc`, which the host calls for every text and list that it gives to a guest. What it answers is as
//! little to be trusted as any other answer.

use seawall_backend::{ExecutionBackend, FaultKind};
use seawall_runtime::Plugin;
use serde_json::json;

use crate::arena::{arena, key, limits, refused};
use crate::guest::{Guest, REALLOC, ZERO};

/// `start` with a key, for which the host needs memory, ends in this fault.
fn ends(realloc: &str, kind: FaultKind, words: &'static str) {
    arena(async |arena| {
        let hostile = arena.load(arena.plugin(&Guest::new().realloc(realloc))).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, kind, words);
            })
            .await;
    });
}

/// The guest spoils memory of its own at most, and `inspect` of many keys is answered.
fn hurts_itself_alone(realloc: &str) {
    arena(async |arena| {
        let hostile = arena.load(arena.plugin(&Guest::new().realloc(realloc))).await;
        arena
            .attack(&hostile, |hostile| async move {
                assert!(hostile.inspect(&vec![key(); 100]).await.unwrap().found.is_empty());
            })
            .await;
    });
}

#[test]
fn memory_beyond_the_end_is_not_written_to() {
    ends("i32.const -1", FaultKind::BadAnswer, "beyond end of memory");
    ends("i32.const 131071", FaultKind::BadAnswer, "beyond end of memory");
}

#[test]
fn memory_that_is_not_aligned_is_not_written_to() {
    arena(async |arena| {
        let hostile = arena.load(arena.plugin(&Guest::new().realloc("i32.const 32769"))).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.inspect(&[key()]).await, FaultKind::BadAnswer, "not aligned");
            })
            .await;
    });
}

#[test]
fn memory_at_address_zero_is_memory() {
    hurts_itself_alone("i32.const 0");
}

#[test]
fn the_same_memory_each_time_spoils_the_guests_own_arguments() {
    hurts_itself_alone("i32.const 32768");
}

#[test]
fn memory_inside_what_was_given_before_spoils_the_guests_own_arguments() {
    hurts_itself_alone(
        "(global.set $top (i32.add (global.get $top) (i32.const 8))) (i32.sub (global.get $top) (i32.const 8))",
    );
}

#[test]
fn growing_memory_while_the_host_writes_to_it_is_allowed() {
    hurts_itself_alone(&format!("(drop (memory.grow (i32.const 1))) {REALLOC}"));
}

#[test]
fn growing_memory_without_end_is_refused() {
    ends(
        "(loop $for (br_if $for (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
        FaultKind::Memory,
        "64MiB are allowed",
    );
}

#[test]
fn a_trap_in_cabi_realloc_ends_the_call() {
    ends("unreachable", FaultKind::Trap, "unreachable");
}

#[test]
fn deep_recursion_in_cabi_realloc_ends_the_call() {
    arena(async |arena| {
        let guest =
            Guest::new().field("(func $deep (result i32) (i32.add (call $deep) (i32.const 1)))").realloc("call $deep");
        let hostile = arena.load(arena.plugin(&guest)).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Trap, "call stack exhausted");
            })
            .await;
    });
}

#[test]
fn cabi_realloc_calls_nothing_of_the_host() {
    arena(async |arena| {
        let guest =
            Guest::new().import("clock", "now", "(result i64)").realloc(format!("(drop (call $now)) {REALLOC}"));
        let hostile = arena.load(arena.plugin(&guest)).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Trap, "cannot leave component instance");
            })
            .await;
    });
}

/// `config.all` answers with a text, for which the host calls `cabi_realloc` while the guest's own call waits for it.
fn ends_within_a_host_call(realloc: &str, kind: FaultKind, words: &'static str) {
    arena(async |arena| {
        let guest = Guest::new()
            .import("config", "all", "(param i32)")
            .import("clock", "now", "(result i64)")
            .body("check", format!("(call $all (i32.const 20000)) (drop (call $now)) i32.const {ZERO}"))
            .realloc(realloc);
        let plugin = Plugin { limits: limits(json!({"all": {"fuel": 5_000_000}})), ..arena.plugin(&guest) };
        let hostile = arena.load(plugin).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.check().await, kind, words);
            })
            .await;
    });
}

#[test]
fn a_loop_in_cabi_realloc_within_a_host_call_runs_out_of_fuel() {
    ends_within_a_host_call("(loop $for (br $for)) unreachable", FaultKind::Fuel, "used up its fuel");
}

#[test]
fn a_trap_in_cabi_realloc_within_a_host_call_ends_the_call() {
    ends_within_a_host_call("unreachable", FaultKind::Trap, "unreachable");
}

#[test]
fn memory_beyond_the_end_within_a_host_call_is_not_written_to() {
    ends_within_a_host_call("i32.const -1", FaultKind::Trap, "beyond end of memory");
}

#[test]
fn a_host_call_is_not_entered_again_from_cabi_realloc() {
    ends_within_a_host_call(
        "(call $all (i32.const 20000)) (i32.const 32768)",
        FaultKind::Trap,
        "cannot leave component instance",
    );
}
