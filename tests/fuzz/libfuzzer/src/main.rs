//! One target of `seawall-fuzz` under libFuzzer: the one that `SEAWALL_FUZZ_TARGET` names.
#![no_main]

use std::cell::RefCell;

use seawall_fuzz::Run;

thread_local! {
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

fn make() -> Option<Run> {
    let name = std::env::var("SEAWALL_FUZZ_TARGET").ok()?;
    Some((seawall_fuzz::target(&name)?.make)())
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    RUN.with_borrow_mut(|run| {
        if run.is_none() {
            *run = make();
        }
        match run {
            Some(run) => run(input),
            None => {
                eprintln!("SEAWALL_FUZZ_TARGET names no target; `cargo xtask fuzz` sets it");
                std::process::exit(2);
            }
        }
    });
});
