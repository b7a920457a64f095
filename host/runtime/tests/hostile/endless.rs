//! A guest that does not come to an end.

use seawall_backend::{ExecutionBackend, FaultKind};
use seawall_runtime::Plugin;
use serde_json::json;

use crate::arena::{arena, key, limits, refused};
use crate::guest::Guest;

/// Runs for ever.
const SPIN: &str = "(loop $for (br $for)) unreachable";

#[test]
fn an_endless_loop_in_a_call_runs_out_of_fuel() {
    arena(async |arena| {
        let guest = Guest::new().body("start", SPIN);
        let plugin = Plugin { limits: limits(json!({"control": {"fuel": 5_000_000}})), ..arena.plugin(&guest) };
        let hostile = arena.load(plugin).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.start(&key()).await, FaultKind::Fuel, "used up its fuel");
            })
            .await;
    });
}
