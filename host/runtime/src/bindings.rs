//! Rust types of `wit/backend`, made by wasmtime's bindings generator. What they share with `wit/host` are the types
//! that the capabilities were generated with.

wasmtime::component::bindgen!({
    path: ["../../wit/host", "../../wit/backend"],
    world: "seawall:backend/plugin-full",
    exports: { default: async },
    with: {
        "seawall:host/types@0.1.0": seawall_capability::bindings::types,
        "seawall:host/streams@0.1.0": seawall_capability::bindings::streams,
    },
    require_store_data_send: true,
});

pub(crate) use seawall::backend::types as wit;
