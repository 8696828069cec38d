//! What a guest's store holds.

use super::{exchange::Exchange, outbound::Outbound, shared::WorkerShared};
use crate::runtime::{engine::TICK, instance::Memory, stderr::Tail};
use std::{sync::Arc, time::Instant};
use wasmtime::{ResourceLimiter, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// The store's data: WASI of which nothing leads outside, and HTTP to granted
/// origins.
pub struct State {
    pub table: ResourceTable,
    pub wasi: WasiCtx,
    pub http: WasiHttpCtx,
    pub outbound: Outbound,
    pub stderr: Tail,
    pub bounds: Bounds,
    /// End of the present call: ends a guest that only computes.
    pub deadline: Instant,
}

impl State {
    pub fn begin(&mut self, exchange: &Exchange) {
        self.deadline = exchange.deadline() + 2 * TICK;
    }

    /// The end of what the guest wrote to stderr, usually a panic message.
    pub fn stderr_tail(&self) -> String {
        self.stderr.take()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

/// The memory's bounds, told to the worker, which sees the store only at the
/// ends of its life.
pub struct Bounds {
    pub memory: Memory,
    pub shared: Arc<WorkerShared>,
}

impl ResourceLimiter for Bounds {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grows = self.memory.memory_growing(current, desired, maximum)?;
        self.shared.note_memory(self.memory.bytes);
        Ok(grows)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.memory.table_growing(current, desired, maximum)
    }
}
