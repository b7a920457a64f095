//! Calls where none may be made: out of post-return, and back into an instance that has not yet answered.

use seawall_backend::{ExecutionBackend, FaultKind};

use crate::arena::{arena, key, refused};
use crate::guest::Guest;

#[test]
fn a_trap_in_post_return_ends_the_call() {
    arena(async |arena| {
        let hostile = arena.load(arena.plugin(&Guest::new().post_return("start", "unreachable"))).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Trap, "unreachable");
            })
            .await;
    });
}

#[test]
fn post_return_calls_nothing_of_the_host() {
    arena(async |arena| {
        let guest = Guest::new()
            .import("clock", "sleep", "(param i64)")
            .post_return("start", "(call $sleep (i64.const 3600000))");
        let hostile = arena.load(arena.plugin(&guest)).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Trap, "cannot leave component instance");
            })
            .await;
    });
}

#[test]
fn a_trap_in_a_start_function_refuses_the_plugin() {
    arena(async |arena| {
        let guest = Guest::new().field("(func $begin unreachable) (start $begin)");
        arena.attack_by_loading(arena.plugin(&guest), FaultKind::Instantiate, "unreachable").await;
    });
}

#[test]
fn a_trap_while_the_instance_of_a_call_is_made_ends_the_call() {
    use crate::endless::{configured, later_when_instantiated};
    arena(async |arena| {
        let hostile = arena.load(configured(arena.plugin(&later_when_instantiated("unreachable")))).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Instantiate, "unreachable");
            })
            .await;
    });
}

#[test]
fn an_instance_is_not_entered_again_through_its_own_adapter() {
    // `run` calls itself the long way: lifted, lowered again, and put into the table that the first module calls through.
    let circle = r#"(component
        (core module $shim
          (table (export "table") 1 funcref)
          (type $f (func))
          (func (export "f") (call_indirect (type $f) (i32.const 0))))
        (core instance $shim (instantiate $shim))
        (core module $main (import "shim" "f" (func $f)) (func (export "run") (call $f)))
        (core instance $main (instantiate $main (with "shim" (instance $shim))))
        (func $lifted (canon lift (core func $main "run")))
        (core func $lowered (canon lower (func $lifted)))
        (core module $fill
          (import "" "table" (table 1 funcref)) (import "" "f" (func $f)) (elem (i32.const 0) func $f))
        (core instance (instantiate $fill (with "" (instance
          (export "table" (table $shim "table")) (export "f" (func $lowered))))))
        (core module $go (import "" "run" (func $run)) (func $begin (call $run)) (start $begin))
        (core instance (instantiate $go (with "" (instance (export "run" (func $lowered)))))))"#;
    arena(async |arena| {
        let plugin = arena.plugin(&Guest::new().beside(circle));
        arena.attack_by_loading(plugin, FaultKind::Instantiate, "cannot enter component instance").await;
    });
}

#[test]
fn an_instance_is_not_entered_again_through_one_that_it_calls() {
    // The parent gives one of its own functions to a child, and calls the child with it.
    let circle = r#"(component
        (core module $main
          (import "" "out" (func $out)) (func (export "run") (call $out)) (func (export "back")))
        (core module $shim
          (table (export "table") 1 funcref)
          (type $f (func))
          (func (export "f") (call_indirect (type $f) (i32.const 0))))
        (core instance $shim (instantiate $shim))
        (core instance $main (instantiate $main (with "" (instance (export "out" (func $shim "f"))))))
        (func $back (canon lift (core func $main "back")))
        (component $child
          (import "back" (func $back))
          (core func $back (canon lower (func $back)))
          (core module $m (import "" "back" (func $back)) (func (export "f") (call $back)))
          (core instance $m (instantiate $m (with "" (instance (export "back" (func $back))))))
          (func (export "f") (canon lift (core func $m "f"))))
        (instance $child (instantiate $child (with "back" (func $back))))
        (core func $out (canon lower (func $child "f")))
        (core module $fill
          (import "" "table" (table 1 funcref)) (import "" "f" (func $f)) (elem (i32.const 0) func $f))
        (core instance (instantiate $fill (with "" (instance
          (export "table" (table $shim "table")) (export "f" (func $out))))))
        (core module $go (import "" "run" (func $run)) (func $begin (call $run)) (start $begin))
        (core instance (instantiate $go (with "" (instance (export "run" (func $main "run")))))))"#;
    arena(async |arena| {
        let plugin = arena.plugin(&Guest::new().beside(circle));
        arena.attack_by_loading(plugin, FaultKind::Instantiate, "cannot enter component instance").await;
    });
}
