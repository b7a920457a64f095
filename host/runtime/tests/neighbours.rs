//! Backends that burn every core they can get, and what a neighbour of theirs still gets.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

#[expect(dead_code, reason = "each test binary uses another part")]
mod guest;

use std::time::Duration;

use guest::{Guest, REPORT};
use seawall_backend::{Deadlines, ExecutionBackend};
use seawall_runtime::{ClassOverrides, Overrides, Plugin, Runtime, RuntimeConfig, WasmBackend};
use tokio::task::JoinSet;

/// What one spinning call burns before it answers.
const SPIN: u64 = 400_000_000;

/// What a call of the neighbour burns.
const WORK: u64 = 2_000_000;

/// A loop that burns about so much fuel.
fn burn(fuel: u64) -> String {
    format!(
        "(local $left i64) (local.set $left (i64.const {turns}))
         (loop $for
           (br_if $for (i64.ne (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0))))
         i32.const {REPORT}",
        turns = fuel / 7,
    )
}

async fn load(runtime: &Runtime, name: &str, body: String) -> WasmBackend {
    let check = Overrides { fuel: Some(u64::MAX / 2), ..Overrides::default() };
    let limits = ClassOverrides { check, ..ClassOverrides::default() };
    let guest = Guest::new().body("check", body);
    // No clock ends the test: how long it takes is the machine's affair.
    let deadlines = Some(Deadlines { check: Duration::from_secs(3600), ..Deadlines::default() });
    let plugin = Plugin { limits, deadlines, ..Plugin::new(name.parse().unwrap(), guest.component()) };
    runtime.load_ungranted(plugin).await.unwrap()
}

fn crowd(backend: &WasmBackend, calls: &mut JoinSet<()>) {
    for _ in 0..20 {
        let backend = backend.clone();
        calls.spawn(async move {
            backend.check().await.unwrap();
        });
    }
}

/// One permit, so that it is the same on every machine: twenty calls of one backend spin, twenty of another fill all the
/// memory they may have again and again. By the time a neighbour, one call after the other, has burned more than a
/// spinning call burns, each of those is far from its end, since the twenty have one share. With as large a share for
/// each call they would have ended first.
#[test]
fn a_neighbour_gets_its_share_however_many_calls_others_make() {
    let config = RuntimeConfig { cpu: 1, ..RuntimeConfig::default() };
    let executor = config.executor().build().unwrap();
    // On a thread of the executor: the one that waits here is none of them, and hears of each turn late.
    let attack = executor.spawn(async {
        let runtime = Runtime::new(config).unwrap();
        let spinning = load(&runtime, "spinning", burn(SPIN)).await;
        let fill = "(drop (memory.grow (i32.const 900)))
                    (loop $for (memory.fill (i32.const 131072) (i32.const 1) (i32.const 58982400)) (br $for)) unreachable";
        let hogging = load(&runtime, "hogging", fill.to_owned()).await;
        let neighbour = load(&runtime, "neighbour", burn(WORK)).await;

        let (mut spins, mut hogs) = (JoinSet::new(), JoinSet::new());
        crowd(&spinning, &mut spins);
        crowd(&hogging, &mut hogs);
        for _ in 0..SPIN * 3 / 2 / WORK {
            neighbour.check().await.unwrap();
        }
        assert!(spins.try_join_next().is_none(), "a spinning call has ended: the neighbour queued with all of them");
        assert!(hogs.try_join_next().is_none());

        // Cut off, they leave nothing behind: the cores and the pool are the neighbour's.
        spins.shutdown().await;
        hogs.shutdown().await;
        neighbour.check().await.unwrap();
        runtime.shutdown();
    });
    executor.block_on(attack).unwrap();
}
