//! Rust types and traits of `wit/host`, made by wasmtime's bindings generator.
//!
//! Only what may wait is async: the others answer at once and need no suspension.
#![expect(missing_docs, reason = "generated; the prose stands in wit/host")]

wasmtime::component::bindgen!({
    path: "../../wit/host",
    world: "imports",
    imports: {
        "seawall:host/clock.sleep": async | trappable,
        "seawall:host/state.commit": async | trappable,
        "seawall:host/docker": async | trappable,
        "seawall:host/process": async | trappable,
        default: trappable,
    },
    with: {
        "seawall:host/streams.byte-stream": crate::streams::ByteStream,
        "seawall:host/streams.execution": crate::streams::Execution,
        "seawall:host/streams.byte-sink": crate::streams::ByteSink,
        "seawall:host/streams.duplex": crate::streams::Duplex,
        "seawall:host/streams.preparation": crate::streams::Prepared,
        "seawall:host/streams.wake-source": crate::streams::WakeSource,
    },
    trappable_error_type: {
        "seawall:host/types.error" => crate::error::HostError,
        "seawall:host/state.state-error" => crate::error::StateFailure,
    },
    require_store_data_send: true,
});

pub use seawall::host::{clock, config, docker, log, process, state, streams, types};
