//! What a component says about itself for debuggers, and what the host makes of it when it traps.

use seawall_backend::{ExecutionBackend, FaultKind};

use crate::arena::{arena, key, peak, refused, resident};
use crate::guest::Guest;

#[test]
fn debug_information_is_never_read() {
    // 1.2 MB of DWARF that describes 100,000 compilation units: reading them takes 50 times as much, for each frame.
    let unit = "\\08\\00\\00\\00\\04\\00\\00\\00\\00\\00\\04\\01".repeat(100_000);
    let debug =
        format!("(@custom \".debug_abbrev\" \"\\01\\11\\00\\00\\00\\00\") (@custom \".debug_info\" \"{unit}\")");
    let guest = Guest::new().field(&debug).body("start", "unreachable");
    arena(async |arena| {
        let hostile = arena.load(arena.plugin(&guest)).await;
        let before = resident();
        let most = peak(arena.attack(&hostile, |hostile| async move {
            let fault = refused(hostile.start(&key()).await, FaultKind::Trap, "unreachable");
            assert_eq!(fault.backtrace, ["start"]);
        }))
        .await;
        assert!(most - before < 12 << 20, "{} bytes were needed to say where it trapped", most - before);
    });
}

#[test]
fn names_of_functions_are_shown_in_part() {
    // A name of 100 KB, one that would forge lines, and a mangled one that refers to itself again and again.
    let long = "x".repeat(100_000);
    let circle = format!("_RI{}NvC1a1b{}E", "", "TB2_B2_B2_B2_B2_B2_B2_B2_B2_B2_E".repeat(100));
    let forged = "a\\nERROR b\\1b[31m";
    let guest = Guest::new()
        .field(&format!(
            "(func $long (@name \"{long}\") unreachable)
             (func $circle (@name \"{circle}\") call $long)
             (func $forged (@name \"{forged}\") call $circle)"
        ))
        .body("start", "call $forged i32.const 0");
    arena(async |arena| {
        let hostile = arena.load(arena.plugin(&guest)).await;
        arena
            .attack(&hostile, |hostile| async move {
                let fault = refused(hostile.start(&key()).await, FaultKind::Trap, "unreachable");
                assert_eq!(fault.backtrace.len(), 4);
                assert!(fault.backtrace.iter().all(|frame| frame.len() < 1000 && !frame.contains(char::is_control)));
            })
            .await;
    });
}
