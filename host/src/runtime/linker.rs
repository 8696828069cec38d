//! Ties imports to capabilities.
//!
//! One linker has everything; whether a component may import it is decided
//! before, by its grants. WASI is there because every tool chain imports it,
//! and closed: no environment, no directories, no network.

use super::instance::State;
use crate::capability;
use wasmtime::{Engine, component::Linker};

pub fn build(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    capability::add_to_linker(&mut linker)?;
    Ok(linker)
}
