//! Ties imports to capabilities.
//!
//! One linker has everything; whether a component may import it is decided
//! before, by its grants. WASI is there because every tool chain imports it,
//! and closed: no environment, no directories, no network.

use super::instance::State;
use crate::capability::{Call, bindings};
use wasmtime::{
    Engine,
    component::{HasData, Linker},
};

/// A capability's view: the present call.
struct HasCall;

impl HasData for HasCall {
    type Data<'a> = &'a mut Call;
}

pub fn build(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    let call: fn(&mut State) -> &mut Call = |state| &mut state.call;
    bindings::database::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::redis::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::events::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::sessions::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::passwords::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::certificates::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::service_account::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::http_client::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::calls::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::settings::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::hub::add_to_linker::<State, HasCall>(&mut linker, call)?;
    bindings::log::add_to_linker::<State, HasCall>(&mut linker, call)?;
    Ok(linker)
}
