//! The commands of the `shema` binary.
//!
//! - `remote`: those that ask a running host by its control API.

mod client;
mod dev;
mod remote;

use crate::{app::App, builder::Checkout, config::Config, runtime::compile, telemetry};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A host for WebAssembly components over Postgres and Redis.
#[derive(Parser)]
#[command(name = "shema", version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Load the data of migrations/demo.sql. Again and again does no harm.
    #[arg(long)]
    demo: bool,
}

const AFTER_HELP: &str = "\
deploy, activate, rollback, status and logs ask a running host: the one of SHEMA_CONTROL_URL
and SHEMA_CONTROL_TOKEN, else the one whose listen.json is in SHEMA_DATA_DIR (.shema).
Exit codes: 0 done, 1 refused or failed (one sentence on standard error says why), 2 wrong usage.";

#[derive(Subcommand)]
enum Command {
    /// Start the host (also without a command).
    Serve {
        /// Load the data of migrations/demo.sql. Again and again does no harm.
        #[arg(long)]
        demo: bool,
    },
    /// Build the components, start the host, and deploy what changes as you write it.
    #[command(after_help = "Watches components/, wit/ and host/host.toml. Builds are quick rather than fast:\n\
                            `shema build` makes what production gets.")]
    Dev {
        /// Load the data of migrations/demo.sql. Again and again does no harm.
        #[arg(long)]
        demo: bool,
    },
    /// Build components into target/components, all or one.
    #[command(after_help = "Example: shema build greeting")]
    Build {
        /// The directory below components/.
        name: Option<String>,
    },
    /// Make a new component in components/ that builds and passes its test as it is.
    #[command(
        after_help = "Example: shema new greeting && shema build greeting && shema deploy greeting target/components/greeting.wasm"
    )]
    New {
        /// Lowercase letters, digits and dashes. It answers below /api/NAME.
        name: String,
    },
    /// Upload a version of a component; it is checked, compiled and takes the traffic.
    #[command(after_help = remote::DEPLOY_EXAMPLES)]
    Deploy(remote::Deploy),
    /// Make an uploaded version live, for all of the traffic or for a share of it.
    #[command(after_help = "Example: shema activate greeting abcdef012345 --weight 10")]
    Activate(remote::Activate),
    /// Make the version live again that was live before.
    #[command(after_help = "Example: shema rollback greeting")]
    Rollback {
        /// The component.
        name: String,
    },
    /// Show components, their versions and shares, hosts and health.
    Status {
        /// One JSON object with all there is to know: components, nodes, health.
        #[arg(long)]
        json: bool,
    },
    /// Show recent log lines, of all components or of one.
    #[command(after_help = "On a terminal lines are made readable; elsewhere they are JSON, one object a line.\n\
                            Example: shema logs greeting --follow")]
    Logs {
        /// The component.
        name: Option<String>,
        /// Go on with new lines until Ctrl-C.
        #[arg(long, short)]
        follow: bool,
    },
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    match cli.command {
        None => runtime.block_on(App::serve(configure()?, cli.demo, drop)),
        Some(Command::Serve { demo }) => runtime.block_on(App::serve(configure()?, demo || cli.demo, drop)),
        Some(Command::Dev { demo }) => {
            let served = runtime.block_on(dev::run(configure()?, demo || cli.demo));
            // A build under way is not waited for.
            runtime.shutdown_background();
            served
        }
        Some(Command::Migrate) => runtime.block_on(App::migrate(configure()?)),
        Some(Command::Build { name }) => build(name),
        Some(Command::Compile { .. }) => unreachable!("`run` has seen to it"),
        Some(Command::New { name }) => new(&name),
        Some(Command::Deploy(arguments)) => runtime.block_on(remote::deploy(arguments)),
        Some(Command::Activate(arguments)) => runtime.block_on(remote::activate(arguments)),
        Some(Command::Rollback { name }) => runtime.block_on(remote::rollback(&name)),
        Some(Command::Status { json }) => runtime.block_on(remote::status(json)),
        Some(Command::Logs { name, follow }) => runtime.block_on(remote::logs(name.as_deref(), follow)),
    }
}

/// For what runs as a host. Clients do without: they have to work where the
/// host's settings are unknown.
fn configure() -> Result<Config> {
    let config = Config::load()?;
    telemetry::start(&config.log_filter, config.log_format)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

fn build(name: Option<String>) -> Result<()> {
    configure()?;
    let checkout = Checkout::here().context("`shema build` runs in the root of a source checkout")?;
    let names = match name {
        Some(name) => vec![name],
        None => checkout.components()?,
    };
    checkout.build(&names)
}

fn new(name: &str) -> Result<()> {
    let checkout = Checkout::here().context("`shema new` runs in the root of a source checkout")?;
    checkout.scaffold(name)?;
    println!(
        "Made components/{name}. What it answers is in src/lib.rs, by which rules in src/domain.rs.\n\n\
         Test it, build it and give it to a running host (`shema dev` does the latter two by itself):\n  \
         cargo test -p {name}\n  shema build {name}\n  shema deploy {name} target/components/{name}.wasm\n  \
         curl 'localhost:3000/api/{name}?name=Ada'\n\n\
         What it may reach beside its requests is granted in host/host.toml, under [components.{name}]."
    );
    Ok(())
}
