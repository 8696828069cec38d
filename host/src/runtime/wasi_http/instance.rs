//! The store of a guest, and what it may use.

use super::{
    World,
    outbound::Outbound,
    shared::WorkerShared,
    state::{Bounds, State},
    worker::{Expiration, Worker},
};
use crate::{
    capability::http_client::Grant,
    config::Limits,
    runtime::{engine::TICK, instance::Memory, stats::Stats, stderr::Tail},
};
use anyhow::Context as _;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline, component::ResourceTable};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::{
    WasiHttpCtx, WasiHttpView,
    handler::{HandlerState, Instance, Proxy, ProxyPre},
};

/// Resources of the host that one guest may hold: bodies, header maps, timers.
/// A request needs some ten.
const MAX_RESOURCES: usize = 1_000;

/// Bytes of one header map. Together with the number of resources this bounds
/// what a guest can make the host keep for it.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Bytes that one call to the host may carry; a body comes in pieces.
const MAX_HOSTCALL_BYTES: usize = 16 << 20;

/// Makes the instances of one version.
pub struct Factory {
    engine: Engine,
    pre: ProxyPre<State>,
    limits: Limits,
    deadline: Duration,
    outbound: Arc<Grant>,
    name: String,
    closed: CancellationToken,
    stats: Arc<Stats>,
}

impl Factory {
    pub fn new(
        engine: Engine,
        pre: ProxyPre<State>,
        limits: Limits,
        deadline: Duration,
        outbound: Arc<Grant>,
        name: String,
        closed: CancellationToken,
    ) -> Factory {
        Factory { engine, pre, limits, deadline, outbound, name, closed, stats: Arc::default() }
    }

    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    fn world(&self) -> World {
        match self.pre {
            ProxyPre::P2(_) => World::Http02,
            ProxyPre::P3(_) => World::Http03,
        }
    }

    /// A new instance, or why there is none: with the end of what the guest wrote to stderr.
    pub async fn create(&self) -> anyhow::Result<(Store<State>, Proxy, Arc<WorkerShared>)> {
        let shared = Arc::new(WorkerShared::default());
        let mut store = self.store(&shared);
        let created = tokio::time::timeout(self.deadline, self.pre.instantiate_async(&mut store)).await;
        let created = created.with_context(|| format!("it takes longer than {:?}", self.deadline))?;
        let proxy = created.map_err(|error| anyhow::anyhow!("{error:#} {}", store.data().stderr_tail()))?;
        shared.note_instantiated();
        Ok((store, proxy, shared))
    }

    fn store(&self, shared: &Arc<WorkerShared>) -> Store<State> {
        let stderr = Tail::default();
        let mut wasi = WasiCtx::builder();
        wasi.stderr(stderr.clone()).allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_HEADER_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let mut store = Store::new(
            &self.engine,
            State {
                table,
                wasi: wasi.build(),
                http,
                outbound: Outbound::new(Arc::clone(&self.outbound)),
                stderr,
                bounds: Bounds { memory: Memory::new(&self.limits, &self.stats), shared: Arc::clone(shared) },
                deadline: Instant::now() + self.deadline + 2 * TICK,
            },
        );
        store.limiter(|state| &mut state.bounds);
        store.set_hostcall_fuel(MAX_HOSTCALL_BYTES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(on_epoch);
        store
    }
}

impl HandlerState for Factory {
    type StoreData = State;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<State, Expiration, Worker>> {
        let (store, proxy, shared) = self.create().await.map_err(wasmtime::Error::from_anyhow)?;
        let world = self.world();
        Ok(Instance {
            store,
            proxy,
            view: State::http,
            expiration: Expiration::new(Arc::clone(&shared), world, self.closed.clone()),
            state: Worker::new(shared, world, &self.limits, self.name.clone()),
        })
    }
}

/// Lets the executor run between two slices of a computing guest, and ends a
/// guest that is past its deadline.
fn on_epoch(store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    if Instant::now() >= store.data().deadline {
        return Ok(UpdateDeadline::Interrupt);
    }
    Ok(UpdateDeadline::Yield(1))
}
