//! Every drill, shortened. `cargo xtask drill --full` runs them at full length.

use seawall_drills::{Drill, run};
use seawall_testing::interrupt::Interrupt;

/// Another seed each time: the report names it, and `cargo xtask drill NAME --seed NUMBER` makes the same choices again.
fn drill(drill: Drill) {
    let report = run(drill, false, None, &Interrupt::default());
    assert!(report.passed(), "{report}\nagain: cargo xtask drill {} --seed {}", drill.name(), report.seed);
}

#[test]
fn a_daemon_killed_at_any_instant_loses_doubles_and_orphans_nothing() {
    drill(Drill::Crash);
}

#[test]
fn an_engine_that_hangs_dies_or_restarts_under_load_costs_no_session() {
    drill(Drill::Engine);
}

#[test]
fn a_store_that_cannot_write_or_was_put_back_loses_doubles_and_orphans_nothing() {
    drill(Drill::Disk);
}

#[test]
fn what_happens_behind_the_daemons_back_ends_as_the_policy_says() {
    drill(Drill::Outside);
}

#[test]
fn many_sessions_and_failing_calls_make_nothing_grow() {
    drill(Drill::Soak);
}

#[test]
fn clients_that_are_slow_stuck_or_gone_cost_nobody_else() {
    drill(Drill::Clients);
}

#[test]
fn long_output_is_followed_and_kept_byte_by_byte() {
    drill(Drill::Streams);
}
