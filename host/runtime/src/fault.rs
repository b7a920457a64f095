//! Which kind of fault ended a call, and where in the guest.

use std::time::Duration;

use seawall_backend::{Fault, FaultKind};
use seawall_capability::Breach;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::call::{CallState, Stage};

/// A frame's name is cut here: generic Rust has names of kilobytes.
const LONGEST_NAME: usize = 240;
/// A longer one is not what a compiler made, and is shown as it is.
const LONGEST_MANGLED: usize = 8 << 10;

/// What wasmtime says of bounds that have no type of their own. A test trips over each.
const LIMIT_MESSAGES: [&str; 3] =
    ["fuel allocated for hostcalls has been exhausted", "store handle limit exceeded", "resource limit exceeded"];

/// Says what ended the call.
pub(crate) fn classify(
    function: &'static str,
    stage: Stage,
    error: &wasmtime::Error,
    store: &Store<CallState>,
) -> Fault {
    let (kind, message) = kind(stage, error, store);
    Fault { kind, function, message, backtrace: frames(error) }
}

/// A defect of the host.
pub(crate) fn internal(function: &'static str, error: &wasmtime::Error) -> Fault {
    let message = format!("could not be called: {error:#}");
    Fault { kind: FaultKind::Internal, function, message, backtrace: Vec::new() }
}

/// A turn came after the deadline that no timer had enforced.
pub(crate) fn overrun(function: &'static str, deadline: Duration) -> Fault {
    let message = format!("was still running at its deadline of {deadline:?}");
    Fault { kind: FaultKind::Deadline, function, message, backtrace: Vec::new() }
}

/// An answer that cannot be true.
pub(crate) fn bad_answer(function: &'static str, reason: impl std::fmt::Display) -> Fault {
    let message = format!("gave an answer that cannot be: {reason}");
    Fault { kind: FaultKind::BadAnswer, function, message, backtrace: Vec::new() }
}

fn kind(stage: Stage, error: &wasmtime::Error, store: &Store<CallState>) -> (FaultKind, String) {
    if let Some(breach) = error.downcast_ref::<Breach>() {
        let kind = match breach {
            Breach::Calls | Breach::Bytes | Breach::Resources => FaultKind::Limit,
            Breach::NotNow(_) => FaultKind::Trap,
        };
        return (kind, breach.to_string());
    }
    // WASI's functions say it in wasmtime's own way.
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return (FaultKind::Limit, Breach::Resources.to_string());
    }
    if error.downcast_ref::<Fault>().is_some() {
        return (FaultKind::Internal, format!("met a defect of the host: {}", error.root_cause()));
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return (
            FaultKind::PoolFull,
            "found no free instance: as many calls run as `runtime.pool` has room for".to_owned(),
        );
    }
    let trap = error.downcast_ref::<Trap>().copied();
    if trap == Some(Trap::OutOfFuel) {
        return (FaultKind::Fuel, "used up its fuel".to_owned());
    }
    if let Some(refused) = store.data().growth.refused() {
        let end = match stage {
            Stage::Instantiate => "and could not be instantiated",
            Stage::Run => "and then failed",
        };
        return (FaultKind::Memory, format!("{refused}, {end}"));
    }
    let root = error.root_cause().to_string();
    if LIMIT_MESSAGES.iter().any(|message| root.contains(message)) {
        return (FaultKind::Limit, format!("broke a bound: {root}"));
    }
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        return (FaultKind::Trap, format!("ended its instance with exit({code})"));
    }
    match (stage, trap) {
        (Stage::Instantiate, Some(trap)) => {
            (FaultKind::Instantiate, format!("could not be instantiated: {}", plain(trap)))
        }
        (Stage::Instantiate, None) => (FaultKind::Instantiate, format!("could not be instantiated: {root}")),
        (Stage::Run, Some(trap)) => (FaultKind::Trap, format!("trapped: {}", plain(trap))),
        // Raised by a host function: the guest gave it something that no well-made guest can.
        (Stage::Run, None) if error.downcast_ref::<WasmBacktrace>().is_some() => {
            (FaultKind::Trap, format!("trapped in a call to the host: {root}"))
        }
        // Before the function began: the host asked for memory to put the arguments into.
        (Stage::Run, None) if root.starts_with("realloc return: ") => {
            (FaultKind::BadAnswer, format!("has a `cabi_realloc` that gave memory which cannot be written to: {root}"))
        }
        // The function returned, and what it returned cannot be read.
        (Stage::Run, None) => (FaultKind::BadAnswer, format!("gave an answer that cannot be read: {root}")),
    }
}

/// wasmtime's words for a trap, without those that say that it is one.
fn plain(trap: Trap) -> String {
    let text = trap.to_string();
    text.strip_prefix("wasm trap: ").map(str::to_owned).unwrap_or(text)
}

/// The guest's frames, innermost first.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    backtrace
        .frames()
        .iter()
        .map(|frame| {
            let name = match frame.func_name() {
                // Without the hash that the compiler puts behind every name. A name may be as long as the component.
                Some(name) if name.len() <= LONGEST_MANGLED => format!("{:#}", rustc_demangle::demangle(name)),
                Some(name) => name.chars().take(LONGEST_NAME).collect(),
                None => format!("function {}", frame.func_index()),
            };
            name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
        })
        .collect()
}
