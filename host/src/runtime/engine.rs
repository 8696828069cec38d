//! The wasmtime engines of the process: one for all components of the host's own
//! world, one for all of the `wasi:http` worlds.
//!
//! Two, because `wasi:http` 0.3 needs an engine that can run many calls of one
//! instance at once, and there every call has to be entered into books that the
//! typed path has no use for: a warm call took 3.9 µs instead of 1.4 µs. Never
//! one per component: that cost an embedder 20 GB (wasmtime#14314).

use anyhow::Result;
use std::time::Duration;
use wasmparser::{Parser, Payload};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often a running guest yields to the executor, and so the coarseness of
/// a deadline against a guest that only computes.
pub const TICK: Duration = Duration::from_millis(10);

/// Slots for instances over all components and versions of an engine. Each reserves
/// address space, not memory.
const MAX_INSTANCES: u32 = 2_000;
const MAX_MEMORY_MIB: usize = 1024;

/// For which components an engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Typed,
    WasiHttp,
}

impl Kind {
    /// By what a component exports. It is read before the component is
    /// compiled, as it decides for which engine that is done. Whatever is not
    /// surely ours gets the engine that understands more; what then is wrong
    /// with it is for the gate to say.
    pub fn of(wasm: &[u8]) -> Kind {
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(Payload::Version { .. }) => depth += 1,
                Ok(Payload::End(_)) => depth -= 1,
                Ok(Payload::ComponentExportSection(exports)) if depth == 1 => {
                    if exports.into_iter().flatten().any(|export| export.name.name.starts_with("shema:")) {
                        return Kind::Typed;
                    }
                }
                Ok(_) => (),
                Err(_) => break,
            }
        }
        Kind::WasiHttp
    }
}

/// Builds an engine and starts its ticker: one for all calls, because one
/// ticker per request cost others most of their throughput (wasmtime#11814).
pub fn start(kind: Kind) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_INSTANCES * 4)
        .total_memories(MAX_INSTANCES)
        .total_tables(MAX_INSTANCES * 2)
        .total_stacks(MAX_INSTANCES)
        .max_memories_per_component(4)
        .max_tables_per_component(8)
        .max_memory_size(MAX_MEMORY_MIB << 20)
        .table_elements(50_000)
        // A pool slot keeps this much memory resident between instances, so
        // that a fresh instance of a small component faults no page in.
        .linear_memory_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);

    let mut config = compiler_config(kind);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;

    let ticking = engine.weak();
    std::thread::Builder::new().name("epoch".into()).spawn(move || {
        while let Some(engine) = ticking.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    })?;
    Ok(engine)
}

/// Everything that decides about the code: the same for the engine that runs it
/// and for the process that compiles it.
pub fn compiler_config(kind: Kind) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(kind == Kind::WasiHttp)
        .memory_init_cow(true)
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20);
    config
}
