//! Bindings made from `wit/`, in three parts that share their types: what a plugin may import, one world for
//! what it must export, and one for each interface that it may export. An import that a plugin does not call does not appear in its component.

pub mod host {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk@0.1.0;

            world host {
                include seawall:host/imports@0.1.0;
                import seawall:backend/types@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk/host@0.1.0",
        generate_all,
    });
}

pub mod plugin {
    wit_bindgen::generate!({
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:backend/plugin@0.1.0",
        with: {
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_plugin",
    });
}

/// What `logs` adds to `plugin`: a component is encoded for the union of the worlds whose macros were used.
pub mod logs {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk-logs@0.1.0;

            world logs {
                export seawall:backend/logs@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk-logs/logs@0.1.0",
        with: {
            "seawall:host/streams@0.1.0": crate::bindings::host::seawall::host::streams,
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_logs",
    });
}
