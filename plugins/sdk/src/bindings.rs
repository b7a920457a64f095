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

/// What `attach` adds.
pub mod attach {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk-attach@0.1.0;

            world attach {
                export seawall:backend/attach@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk-attach/attach@0.1.0",
        with: {
            "seawall:host/streams@0.1.0": crate::bindings::host::seawall::host::streams,
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_attach",
    });
}

/// What `endpoint` adds.
pub mod endpoint {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk-endpoint@0.1.0;

            world endpoint {
                export seawall:backend/endpoint@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk-endpoint/endpoint@0.1.0",
        with: {
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_endpoint",
    });
}

/// What `images` adds.
pub mod images {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk-images@0.1.0;

            world images {
                export seawall:backend/images@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk-images/images@0.1.0",
        with: {
            "seawall:host/streams@0.1.0": crate::bindings::host::seawall::host::streams,
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_images",
    });
}

/// What `input` adds.
pub mod input {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk-input@0.1.0;

            world input {
                export seawall:backend/input@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk-input/input@0.1.0",
        with: {
            "seawall:host/streams@0.1.0": crate::bindings::host::seawall::host::streams,
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_input",
    });
}

/// What `pause` adds.
pub mod pause {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk-pause@0.1.0;

            world pause {
                export seawall:backend/pause@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk-pause/pause@0.1.0",
        with: {
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_pause",
    });
}

/// What `stats` adds.
pub mod stats {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk-stats@0.1.0;

            world stats {
                export seawall:backend/stats@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk-stats/stats@0.1.0",
        with: {
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_stats",
    });
}

/// What `watch` adds.
pub mod watch {
    wit_bindgen::generate!({
        inline: "
            package seawall:sdk-watch@0.1.0;

            world watch {
                export seawall:backend/watch@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/backend"],
        world: "seawall:sdk-watch/watch@0.1.0",
        with: {
            "seawall:host/streams@0.1.0": crate::bindings::host::seawall::host::streams,
            "seawall:host/types@0.1.0": crate::bindings::host::seawall::host::types,
            "seawall:backend/types@0.1.0": crate::bindings::host::seawall::backend::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_watch",
    });
}
