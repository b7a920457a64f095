//! A guest that does not come to an end, wherever the host lets it begin.

use std::time::Duration;

use seawall_backend::{Deadlines, ExecutionBackend, FaultKind};
use seawall_runtime::Plugin;
use serde_json::json;

use crate::arena::{Arena, arena, key, limits, refused};
use crate::guest::{Guest, ZERO, words};

/// Runs for ever.
const SPIN: &str = "(loop $for (br $for)) unreachable";

/// Some milliseconds of fuel for every call.
fn short(arena: &Arena, guest: &Guest) -> Plugin {
    Plugin { limits: limits(json!({"all": {"fuel": 5_000_000}})), ..arena.plugin(guest) }
}

/// More fuel than can be burned, and a short deadline.
fn late(arena: &Arena, guest: &Guest) -> Plugin {
    let deadlines = Deadlines { control: Duration::from_millis(20), ..Deadlines::default() };
    let limits = limits(json!({"control": {"fuel": u64::MAX / 2}}));
    Plugin { deadlines: Some(deadlines), limits, ..arena.plugin(guest) }
}

/// Makes `start` out of fuel, as often as an attack is made.
fn starves(guest: Guest) {
    arena(async |arena| {
        let hostile = arena.load(short(arena, &guest)).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Fuel, "used up its fuel");
            })
            .await;
    });
}

/// The same with the deadline.
fn is_late(guest: Guest) {
    arena(async |arena| {
        let hostile = arena.load(late(arena, &guest)).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Deadline, "deadline");
            })
            .await;
    });
}

/// Does nothing while it is loaded, and `then` whenever an instance is made for a call: only then it has a
/// configuration.
pub(crate) fn later_when_instantiated(then: &str) -> Guest {
    let begin = format!(
        "(func (export \"_initialize\")
           (call $get (i32.const 20000) (i32.const 1) (i32.const 20008))
           (if (i32.load8_u (i32.const 20008)) (then {then})))
         (data (i32.const 20000) \"x\")"
    );
    Guest::new().import("config", "get", "(param i32 i32 i32)").field(&begin)
}

/// What makes it so.
pub(crate) fn configured(plugin: Plugin) -> Plugin {
    let config = [("x".to_owned(), json!(1))].into_iter().collect();
    Plugin { config, ..plugin }
}

#[test]
fn an_endless_loop_in_a_call_runs_out_of_fuel() {
    starves(Guest::new().body("start", SPIN));
}

#[test]
fn an_endless_loop_in_cabi_realloc_runs_out_of_fuel() {
    starves(Guest::new().realloc(SPIN));
}

#[test]
fn an_endless_loop_in_post_return_runs_out_of_fuel() {
    starves(Guest::new().post_return("start", SPIN));
}

#[test]
fn an_endless_loop_in_a_start_function_refuses_the_plugin() {
    arena(async |arena| {
        let guest = Guest::new().field(&format!("(func $begin {SPIN}) (start $begin)"));
        arena.attack_by_loading(short(arena, &guest), FaultKind::Fuel, "used up its fuel").await;
    });
}

#[test]
fn an_endless_loop_in_describe_refuses_the_plugin() {
    arena(async |arena| {
        let guest = Guest::new().body("describe", SPIN);
        arena.attack_by_loading(short(arena, &guest), FaultKind::Fuel, "used up its fuel").await;
    });
}

#[test]
fn an_endless_loop_while_the_instance_of_a_call_is_made_runs_out_of_fuel() {
    arena(async |arena| {
        let hostile = arena.load(configured(short(arena, &later_when_instantiated(SPIN)))).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Fuel, "used up its fuel");
            })
            .await;
    });
}

#[test]
fn filling_all_memory_again_and_again_burns_fuel_by_the_byte() {
    let pages = 1000;
    starves(Guest::new().memory(format!("{pages}")).body(
        "start",
        format!(
            "(loop $for (memory.fill (i32.const 0) (i32.const 1) (i32.const {})) (br $for)) unreachable",
            pages << 16
        ),
    ));
}

#[test]
fn growing_by_nothing_for_ever_runs_out_of_fuel() {
    let grow = "(loop $for (drop (memory.grow (i32.const 0))) (br $for)) unreachable";
    arena(async |arena| {
        // A call of the engine's own code takes as long as many instructions, and burns as much fuel as one.
        let limits = limits(json!({"control": {"fuel": 100_000}}));
        let hostile = arena.load(Plugin { limits, ..arena.plugin(&Guest::new().body("start", grow)) }).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Fuel, "used up its fuel");
            })
            .await;
    });
}

#[test]
fn jumping_through_a_table_for_ever_runs_out_of_fuel() {
    let labels = "$for ".repeat(10_000);
    starves(Guest::new().body("start", format!("(loop $for (br_table {labels} (i32.const 7))) unreachable")));
}

/// Instances that all fill the same memory, or table, with what they bring along.
fn filled_by_all(shared: &str, import: &str, filling: &str) -> String {
    let fill = "(core instance (instantiate $fill (with \"\" (instance $shared))))".repeat(40);
    format!(
        "(component
           (core module $shared {shared}) (core instance $shared (instantiate $shared))
           (core module $fill (import \"\" \"shared\" {import}) {filling}) {fill})"
    )
}

#[test]
fn data_that_is_copied_while_the_instance_is_made_burns_fuel_by_the_byte() {
    // 10 MB to copy, in a component of 256 KB.
    let data = format!("(data (i32.const 0) \"{}\")", "a".repeat(256 << 10));
    let greedy = filled_by_all("(memory (export \"shared\") 4)", "(memory 4)", &data);
    arena(async |arena| {
        let plugin = short(arena, &Guest::new().beside(greedy));
        arena.attack_by_loading(plugin, FaultKind::Fuel, "used up its fuel").await;
    });
}

#[test]
fn tables_that_are_filled_while_the_instance_is_made_burn_fuel_by_the_element() {
    // 400,000 elements, in a component of 10 KB.
    let elements = format!("(func $f) (elem (i32.const 0) func {})", "$f ".repeat(10_000));
    let greedy = filled_by_all("(table (export \"shared\") 10000 funcref)", "(table 10000 funcref)", &elements);
    arena(async |arena| {
        let limits = limits(json!({"check": {"fuel": 50_000}}));
        let plugin = Plugin { limits, ..arena.plugin(&Guest::new().beside(greedy)) };
        arena.attack_by_loading(plugin, FaultKind::Fuel, "used up its fuel").await;
    });
}

#[test]
fn a_loop_meets_the_deadline_in_a_call() {
    is_late(Guest::new().body("start", SPIN));
}

#[test]
fn a_loop_meets_the_deadline_in_cabi_realloc() {
    is_late(Guest::new().realloc(SPIN));
}

#[test]
fn a_loop_meets_the_deadline_in_post_return() {
    is_late(Guest::new().post_return("start", SPIN));
}

#[test]
fn a_loop_meets_the_deadline_while_the_instance_is_made() {
    arena(async |arena| {
        let hostile = arena.load(configured(late(arena, &later_when_instantiated(SPIN)))).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Deadline, "deadline");
            })
            .await;
    });
}

#[test]
fn filling_memory_meets_the_deadline() {
    is_late(Guest::new().memory("1000").body(
        "start",
        "(loop $for (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536000)) (br $for)) unreachable",
    ));
}

#[test]
fn a_host_call_that_waits_meets_the_deadline_while_the_instance_is_made() {
    arena(async |arena| {
        let guest =
            later_when_instantiated("(call $sleep (i64.const 3600000))").import("clock", "sleep", "(param i64)");
        let hostile = arena.load(configured(late(arena, &guest))).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Deadline, "its deadline");
            })
            .await;
    });
}

#[test]
fn what_the_host_offers_to_all_may_be_used_while_the_instance_is_made() {
    arena(async |arena| {
        // `check` answers with what the start function found: the version is the configured value.
        let guest = later_when_instantiated("").body(
            "check",
            format!(
                "{} (i32.store (i32.const 21008) (i32.load (i32.const 20012))) i32.const 21000",
                words(21000, &[0, 0, ZERO, 1, 0, 0])
            ),
        );
        let backend = arena.load(configured(short(arena, &guest))).await;
        arena.attack(&backend, |backend| async move { assert_eq!(backend.check().await.unwrap().version, "1") }).await;
    });
}
