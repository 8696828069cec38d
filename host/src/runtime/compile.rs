//! Compilation in a process of its own, so that an artifact which takes too
//! long, needs too much memory or breaks the compiler ends that process and
//! nothing else. (Cranelift can neither be cancelled nor given a budget.)

use super::{code_cache::Cache, engine};
use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, nice, setrlimit};
use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};
use wasmtime::{Engine, component::Component};

/// The hidden command of this binary that compiles standard input.
pub const COMMAND: &str = "compile";
/// Exit code for input that is no valid component, as opposed to a compiler
/// that came to its end.
const INVALID: u8 = 3;

pub struct Compiler {
    /// The `shema` binary.
    pub program: PathBuf,
    pub timeout: Duration,
    pub memory_mib: u64,
}

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The compiler's own words on what is wrong with the artifact.
    #[error("{0}")]
    Invalid(String),
    #[error("compiling it took longer than {} seconds", .0.as_secs())]
    TooLong(Duration),
    /// It came to its end, as a rule for lack of memory.
    #[error("the compiler did not finish within {0} MiB of memory")]
    Broken(u64),
    #[error("{0:#}")]
    Host(anyhow::Error),
}

impl Compiler {
    /// The compiled component, from the cache where it is there, and how long
    /// the compilation took (none if there was none to do).
    pub async fn compile(&self, engine: &Engine, cache: &Cache, wasm: &[u8]) -> Result<(Component, Duration), Failure> {
        if let Some(component) = cache.read(engine, wasm) {
            return Ok((component, Duration::ZERO));
        }
        let started = Instant::now();
        let code = self.run(wasm).await?;
        let took = started.elapsed();
        tracing::debug!(ms = took.as_millis() as u64, "compiled");
        cache.load(engine, wasm, &code).map(|component| (component, took)).map_err(Failure::Host)
    }

    async fn run(&self, wasm: &[u8]) -> Result<Vec<u8>, Failure> {
        let host = |error: std::io::Error| {
            Failure::Host(anyhow::Error::new(error).context("the compiler's process cannot be used"))
        };
        let mut command = Command::new(&self.program);
        command.arg(COMMAND).arg(self.memory_mib.to_string()).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(host)?;
        let (Some(mut input), Some(mut output), Some(mut errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three are piped");
        };
        let (mut code, mut said) = (Vec::new(), String::new());
        let work = async {
            let feed = async {
                // A compiler that has already given up does not read to the end.
                let _ = input.write_all(wasm).await;
                drop(input);
            };
            let ((), read, heard) = tokio::join!(feed, output.read_to_end(&mut code), errors.read_to_string(&mut said));
            read.and(heard)?;
            child.wait().await
        };
        let status = match tokio::time::timeout(self.timeout, work).await {
            Ok(status) => status.map_err(host)?,
            Err(_) => return Err(Failure::TooLong(self.timeout)),
        };
        match status.code() {
            Some(0) => Ok(code),
            Some(code) if code == i32::from(INVALID) => Err(Failure::Invalid(said.trim().to_owned())),
            _ => {
                tracing::warn!("the compiler ended with {status}: {}", said.trim());
                Err(Failure::Broken(self.memory_mib))
            }
        }
    }
}

/// The command: a component on standard input, its code on standard output.
pub fn run(memory_mib: u64) -> ExitCode {
    match compile_input(memory_mib) {
        Ok(Ok(code)) => match std::io::stdout().write_all(&code) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Ok(Err(invalid)) => {
            eprintln!("{invalid:#}");
            ExitCode::from(INVALID)
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compile_input(memory_mib: u64) -> Result<wasmtime::Result<Vec<u8>>> {
    let bytes = Some(memory_mib << 20);
    setrlimit(Resource::As, Rlimit { current: bytes, maximum: bytes }).context("cannot bound the memory")?;
    // Whoever is being served goes before whoever deploys.
    let _ = nice(10);
    let mut wasm = Vec::new();
    std::io::stdin().read_to_end(&mut wasm)?;
    let engine = Engine::new(&engine::compiler_config(engine::Kind::of(&wasm)))?;
    Ok(engine.precompile_component(&wasm))
}
