//! Proofs that anyone can run.
//!
//! `cargo run --release -p bench -- NAME` starts what it needs, prints a table
//! for people, and as its last line one JSON object for programs. Ratios are
//! ours divided by theirs, measured in turns in one run, because the machine's
//! own speed changes from minute to minute.
//!
//! - `peers`: against a native axum server, `wasmtime serve` and Hono on Node.
//! - `load`: the client that asks, in this process.
//! - `native`: the native server, in a process of its own.
//! - `place`: Postgres, the host under test and other processes.

mod load;
mod native;
mod peers;
mod place;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "bench", about = "Proofs that anyone can run")]
struct Cli {
    #[command(subcommand)]
    proof: Proof,
    /// Seconds of each measurement.
    #[arg(long, global = true, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Measurements of each kind, in turns.
    #[arg(long, global = true, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
    rounds: u64,
    /// For proofs that draw lots.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
}

#[derive(Subcommand)]
enum Proof {
    /// Throughput and latency beside other servers that do the same.
    Peers,
    /// The native server, as `peers` starts it.
    #[command(hide = true)]
    Native { database_url: String, access_secret: String },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    match cli.proof {
        Proof::Peers => runtime.block_on(peers::run(cli.seconds, cli.rounds)),
        Proof::Native { database_url, access_secret } => runtime.block_on(native::serve(&database_url, &access_secret)),
    }
}
