//! Structured logs on standard error: for people on a terminal, JSON elsewhere.

use crate::config::LogFormat;
use anyhow::{Context, Result};
use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, fmt};

/// `filter` as in `RUST_LOG`; `format` None: by whether there is a terminal.
pub fn start(filter: &str, format: Option<LogFormat>) -> Result<()> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("RUST_LOG: `{filter}` is not a filter such as info"))?;
    let terminal = io::stderr().is_terminal();
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json }) {
        LogFormat::Pretty => lines.with_ansi(terminal).compact().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
