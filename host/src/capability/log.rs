//! `shema:log`: a component's lines in the host's log.

use super::{CallState, Context, Granting, HasCall, Usage, bindings::log};
use crate::config;
use wasmtime::component::{HasData, Linker};

pub const INTERFACES: &[&str] = &["shema:log/log@0.1.0"];

/// Bounds, so that a component in a loop cannot fill the disk.
const MAX_LINES: u32 = 100;
const MAX_BYTES: usize = 4096;

pub type Grant = ();

#[derive(Default)]
pub struct State {
    lines: u32,
}

/// Nothing has to be granted.
pub fn missing_grant(_interface: &str, _grants: &config::Grants) -> Option<&'static str> {
    None
}

pub async fn grant(_granting: &Granting<'_>) -> anyhow::Result<Grant> {
    Ok(())
}

pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    log::add_to_linker::<T, Log>(linker, |state| {
        let call = state.call();
        View { component: &call.grants.component, context: &call.context, state: &mut call.log }
    })
}

struct Log;

impl HasData for Log {
    type Data<'a> = View<'a>;
}

struct View<'a> {
    component: &'a str,
    context: &'a Context,
    state: &'a mut State,
}

impl log::Host for View<'_> {
    async fn write(&mut self, level: log::Level, mut message: String) -> wasmtime::Result<()> {
        self.state.lines = self.state.lines.saturating_add(1);
        if self.state.lines > MAX_LINES {
            return Ok(());
        }
        message.truncate(message.floor_char_boundary(MAX_BYTES));
        let View { component, context: Context { version, request_id, .. }, .. } = self;
        match level {
            log::Level::Debug => tracing::debug!(target: "component", component, version, request_id, "{message}"),
            log::Level::Info => tracing::info!(target: "component", component, version, request_id, "{message}"),
            log::Level::Warn => tracing::warn!(target: "component", component, version, request_id, "{message}"),
            log::Level::Error => tracing::error!(target: "component", component, version, request_id, "{message}"),
        }
        Ok(())
    }
}

impl CallState for State {
    fn end(self, component: &str, context: &Context, _usage: &mut Usage) {
        let dropped = self.lines.saturating_sub(MAX_LINES);
        if dropped > 0 {
            let request_id = &context.request_id;
            tracing::warn!(target: "component", component, request_id, dropped, "log lines over the limit were dropped");
        }
    }
}
