//! `shema:log`: a component's lines in the host's log.

use super::{Call, bindings::log};

/// Bounds, so that a component in a loop cannot fill the disk.
const MAX_LINES: u32 = 100;
const MAX_BYTES: usize = 4096;

impl log::Host for Call {
    async fn write(&mut self, level: log::Level, mut message: String) -> wasmtime::Result<()> {
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines > MAX_LINES {
            return Ok(());
        }
        message.truncate(message.floor_char_boundary(MAX_BYTES));
        let version = self.context.as_ref().map_or("", |context| context.version.as_str());
        let (component, request_id) = (self.held.name.as_str(), self.request_id());
        match level {
            log::Level::Debug => tracing::debug!(target: "component", component, version, request_id, "{message}"),
            log::Level::Info => tracing::info!(target: "component", component, version, request_id, "{message}"),
            log::Level::Warn => tracing::warn!(target: "component", component, version, request_id, "{message}"),
            log::Level::Error => tracing::error!(target: "component", component, version, request_id, "{message}"),
        }
        Ok(())
    }
}

pub fn note_dropped(call: &Call) {
    let dropped = call.log_lines.saturating_sub(MAX_LINES);
    if dropped > 0 {
        let (component, request_id) = (call.held.name.as_str(), call.request_id());
        tracing::warn!(target: "component", component, request_id, dropped, "log lines over the limit were dropped");
    }
}
