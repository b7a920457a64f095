//! One target of `seawall-fuzz` under libFuzzer: the one that `SEAWALL_FUZZ_TARGET` names. Where `SEAWALL_FUZZ_SEEDS`
//! names a folder, the inputs that the target makes to begin with are put there before anything is read.
#![no_main]

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use seawall_fuzz::{Run, Target};

thread_local! {
    /// How long an input may be, and what takes it. It is never dropped: that would be when the process is all but gone,
    /// and with it what a runtime needs for its end.
    static RUN: RefCell<Option<(usize, ManuallyDrop<Run>)>> = const { RefCell::new(None) };
}

fn target() -> Option<Target> {
    seawall_fuzz::target(&std::env::var("SEAWALL_FUZZ_TARGET").ok()?)
}

fn plant() {
    let Some((folder, target)) = std::env::var_os("SEAWALL_FUZZ_SEEDS").zip(target()) else { return };
    for (at, seed) in (target.seeds)().into_iter().enumerate() {
        if let Err(error) = std::fs::write(std::path::Path::new(&folder).join(format!("seed-{at:02}")), seed) {
            eprintln!("failed to write a seed: {error}");
        }
    }
}

libfuzzer_sys::fuzz_target!(
    init: plant(),
    |input: &[u8]| {
        RUN.with_borrow_mut(|run| {
            if run.is_none() {
                *run = target().map(|target| (target.longest, ManuallyDrop::new((target.make)())));
            }
            match run {
                Some((longest, run)) => run(input.get(..*longest).unwrap_or(input)),
                None => {
                    eprintln!("SEAWALL_FUZZ_TARGET names no target; `cargo xtask fuzz` sets it");
                    std::process::exit(2);
                }
            }
        });
    }
);
