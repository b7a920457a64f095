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

/// What `exec` adds.
pub mod exec {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk-exec@0.1.0;

            world exec {
                export seawall:backend/exec@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk-exec/exec@0.1.0",
        with: {
            "seawall:host/streams@0.1.0": crate::bindings::host::seawall::host::streams,
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_exec",
    });
}

/// What `health-checks` adds.
pub mod health_checks {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk-health-checks@0.1.0;

            world health-checks {
                export seawall:backend/health-checks@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk-health-checks/health-checks@0.1.0",
        with: {
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_health_checks",
    });
}
