//! The commands of the `shema` binary.

use crate::{app::App, builder::Checkout, component::compile, config::Config, telemetry};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A host for WebAssembly components over Postgres and Redis.
#[derive(Parser)]
#[command(name = "shema", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Load demo data: courses, rooms, classes, people. Again and again does no harm.
    #[arg(long)]
    demo: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Start the host (also without a command).
    Serve {
        /// Load demo data: courses, rooms, classes, people. Again and again does no harm.
        #[arg(long)]
        demo: bool,
    },
    /// Build components into target/components, all or one.
    Build { name: Option<String> },
    /// Apply the migrations to the database and exit.
    Migrate,
    /// Compile a component from standard input to standard output, within so
    /// many MiB of memory. The host runs it for each artifact.
    #[command(name = compile::COMMAND, hide = true)]
    Compile { memory_mib: u64 },
}

/// Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Compile { memory_mib }) = cli.command {
        return compile::run(memory_mib);
    }
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shema: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> Result<()> {
    let config = Config::load()?;
    telemetry::start(&config.log_filter, config.log_format)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    match cli.command {
        None => runtime.block_on(App::serve(config, cli.demo)),
        Some(Command::Serve { demo }) => runtime.block_on(App::serve(config, demo || cli.demo)),
        Some(Command::Migrate) => runtime.block_on(App::migrate(config)),
        Some(Command::Build { name }) => build(name),
        Some(Command::Compile { .. }) => unreachable!("`run` has seen to it"),
    }
}

fn build(name: Option<String>) -> Result<()> {
    let checkout = Checkout::here().context("`shema build` runs in the root of a source checkout")?;
    let names = match name {
        Some(name) => vec![name],
        None => checkout.components()?,
    };
    checkout.build(&names)
}
