//! `shema:settings`: values that the operator declares for the component.
//! They were checked at start, so there is nothing left to go wrong.

use super::{Call, bindings::settings};

impl settings::Host for Call {
    async fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.held.settings.get(&name).cloned())
    }
}
