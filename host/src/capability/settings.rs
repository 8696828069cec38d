//! `shema:settings`: values that the operator declares for the component.
//! They were checked at start, so there is nothing left to go wrong.

use super::{Granting, HasCall, bindings::settings};
use crate::config;
use std::collections::BTreeMap;
use wasmtime::component::{HasData, Linker};

pub const INTERFACES: &[&str] = &["shema:settings/values@0.1.0"];

/// The values of the component's settings, by name.
pub type Grant = BTreeMap<String, String>;
pub type State = ();

/// Nothing has to be granted.
pub fn missing_grant(_interface: &str, _grants: &config::Grants) -> Option<&'static str> {
    None
}

pub async fn grant(granting: &Granting<'_>) -> anyhow::Result<Grant> {
    Ok(granting.config.values.clone())
}

pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    settings::add_to_linker::<T, Settings>(linker, |state| View(&state.call().grants.settings))
}

struct Settings;

impl HasData for Settings {
    type Data<'a> = View<'a>;
}

struct View<'a>(&'a Grant);

impl settings::Host for View<'_> {
    async fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.0.get(&name).cloned())
    }
}
