//! The one wasmtime engine of the process.

use anyhow::Result;
use std::time::Duration;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often a running guest yields to the executor, and so the coarseness of
/// a deadline against a guest that only computes.
pub const TICK: Duration = Duration::from_millis(10);

/// Slots for instances over all components and versions. Each reserves
/// address space, not memory.
const MAX_INSTANCES: u32 = 2_000;
const MAX_MEMORY_MIB: usize = 1024;

/// Builds the engine and starts its ticker: one for the process, because one
/// ticker per request cost others most of their throughput (wasmtime#11814).
pub fn start() -> Result<Engine> {
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

    let mut config = compiler_config();
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
pub fn compiler_config() -> Config {
    let mut config = Config::new();
    config
        .memory_init_cow(true)
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20);
    config
}
