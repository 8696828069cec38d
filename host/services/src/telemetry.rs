//! Structured logs on standard error: for people on a terminal, JSON elsewhere.
//!
//! - `operator_events`: what operators want to hear at once.
//! - `recent_logs`: the latest of them, for whoever asks the control API.

pub mod operator_events;
pub mod recent_logs;

use anyhow::{Context, Result};
use chrono::{SecondsFormat, Utc};
use config::LogFormat;
use recent_logs::Recent;
use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// `filter` as in `RUST_LOG`; `format` None: by whether there is a terminal.
pub fn start(filter: &str, format: Option<LogFormat>) -> Result<()> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("RUST_LOG: `{filter}` is not a filter such as info"))?;
    let terminal = io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json }) {
        LogFormat::Pretty => lines.with_ansi(terminal).compact().boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry().with(filter).with(Recent).with(lines).try_init();
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// The present time as in the API: RFC 3339 in UTC, with milliseconds.
pub fn timestamp() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}
