//! A component: the versions of one domain, each compiled, linked and asked for
//! its routes before it gets any traffic.
//!
//! - `engine`: the wasmtime engines, one per kind of world.
//! - `code_cache`, `compile`: from `.wasm` bytes to machine code, through a cache.
//! - `linker`: imports to capabilities.
//! - `gate`: what an artifact has to pass before it becomes a version; `routes`:
//!   which paths it may answer.
//! - `version`: one artifact, ready to answer; `stats`: what it has done.
//! - `instance`, `pool`: running calls.
//! - `description`: what a component says of its routes.
//! - `registry`: paths to components, requests to versions.
//! - `wasi_http`: components of the `wasi:http` worlds.

pub mod call;
pub mod calls;
pub mod code_cache;
pub mod compile;
pub mod description;
pub mod engine;
pub mod gate;
pub mod instance;
pub mod linker;
pub mod pool;
pub mod registry;
pub mod routes;
pub mod stats;
mod stderr;
pub mod version;
pub mod version_id;
pub mod wasi_http;

pub use version::{Found, Version};

use crate::capability::{Shared, bindings::http::Method};
use code_cache::Cache;

use compile::Compiler;
use instance::State;
use std::{sync::Arc, time::Duration};
use wasmtime::{Engine, component::Linker};

/// What all components are built with.
pub struct Loader {
    pub engine: Engine,
    pub linker: Linker<State>,
    /// For components of the `wasi:http` worlds.
    pub wasi_http_engine: Engine,
    pub wasi_http_linker: Linker<wasi_http::State>,
    pub compiler: Compiler,
    pub cache: Cache,
    pub call_timeout: Duration,
    pub max_artifact_bytes: usize,
    /// Ed25519; then every artifact needs a signature.
    pub public_key: Option<Vec<u8>>,
    pub shared: Arc<Shared>,
}

pub fn method_name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}
