//! Measurements that anyone can repeat.
//!
//! `cargo run --release -p bench -- NAME` starts what it needs, prints a table
//! for people, and as its last line one JSON object for programs. Ratios are
//! ours divided by theirs, measured in turns in one run, because the machine's
//! own speed changes from minute to minute.
//!
//! - `peers`: against a native axum server, `wasmtime serve` and Hono on Node.
//! - `chat`: sockets that survive everything, and what they cost.
//! - `swap`: versions that come and go while clients ask.
//! - `load`: the client that asks, in this process.
//! - `control`: the operator who changes things meanwhile.
//! - `native`: the native server, in a process of its own.
//! - `report`: what has been found, for people and for programs.
//! - `processes`: starts and stops Postgres, the host under test and others.
//! - `environment`: settings and data of a host under test.

mod chat;
mod control;
mod environment;
mod load;
mod native;
mod peers;
mod processes;
mod report;
mod swap;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "bench", about = "Proofs that anyone can run")]
struct Cli {
    #[command(subcommand)]
    proof: Proof,
    /// Seconds of each measurement; 5; 12 for `swap`, which makes a minute of swapping; 10 for `chat`.
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: Option<u64>,
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
    /// Requests, memory and time while components are swapped.
    Swap,
    /// Chats under faults, under many sockets and under swaps.
    Chat(chat::Plan),
    /// The native server, as `peers` starts it.
    #[command(hide = true)]
    Native { database_url: String, access_secret: String },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    match cli.proof {
        Proof::Peers => runtime.block_on(peers::run(cli.seconds.unwrap_or(5), cli.rounds)),
        Proof::Swap => runtime.block_on(swap::run(cli.seconds.unwrap_or(12), cli.rounds, cli.seed)),
        Proof::Chat(plan) => runtime.block_on(chat::run(&plan, cli.seconds.unwrap_or(10), cli.rounds, cli.seed)),
        Proof::Native { database_url, access_secret } => runtime.block_on(native::serve(&database_url, &access_secret)),
    }
}

/// The middle one; NaN if there is none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
