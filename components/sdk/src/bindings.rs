//! The guests' side of the contract in `wit/`: the only `generate!` of the
//! guests.
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
