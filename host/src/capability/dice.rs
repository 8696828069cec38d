//! `fixture:dice`: a capability for the test alone, added as the README's
//! check-list says.

use super::{CallState, Granting, HasCall};
use crate::config;
use wasmtime::component::Linker;

pub const INTERFACES: &[&str] = &["fixture:dice/dice@0.1.0"];

const MAX_ROLLS: u8 = 3;

/// What each die shows: the number of letters of the component's name, so that the
/// test can tell.
pub type Grant = u8;

#[derive(Default)]
pub struct State {
    rolls: u8,
}

impl CallState for State {}

/// Nothing has to be granted.
pub fn missing_grant(_interface: &str, _grants: &config::Grants) -> Option<&'static str> {
    None
}

pub async fn grant(granting: &Granting<'_>) -> anyhow::Result<Grant> {
    Ok(u8::try_from(granting.component.len())?)
}

// By hand: bindings are generated in one file, which has no fixtures.
pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.instance(INTERFACES[0])?.func_wrap("roll", |mut store, ()| {
        let call = store.data_mut().call();
        call.dice.rolls = call.dice.rolls.saturating_add(1);
        Ok((if call.dice.rolls > MAX_ROLLS { 0 } else { call.grants.dice },))
    })
}
