//! The guests' side of the contract in `wit/`: the only file of the guests with
//! a `generate!`, one per world.
//!
//! What components use is re-exported by hand in the modules that stand in
//! front of it. Public, but hidden, because `component!` expands to its
//! `export!` in other crates; nobody else names this module.
#![allow(missing_docs, clippy::all)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "shema:host/component",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "sdk::bindings",
});

/// What a component exports on top that has a health check.
pub mod health {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "shema:host/health",
        pub_export_macro: true,
        default_bindings_module: "sdk::bindings::health",
    });
}

/// What a component exports on top that holds WebSockets.
pub mod sockets {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "shema:host/sockets",
        with: {
            "shema:http/types@0.1.0": crate::bindings::shema::http::types,
            "shema:sockets/hub@0.1.0": crate::bindings::shema::sockets::hub,
            "shema:sockets/socket-types@0.1.0": crate::bindings::shema::sockets::socket_types,
        },
        pub_export_macro: true,
        default_bindings_module: "sdk::bindings::sockets",
    });
}
