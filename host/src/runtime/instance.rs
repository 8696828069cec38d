//! A store with an instantiated component in it, serving one call at a time.

use super::{
    call::{Failure, Invocation, Outcome, PROBE_DEADLINE},
    engine::TICK,
    stats::Stats,
    stderr::Tail,
};
use crate::{
    capability::{
        Call, Context, Grants, HasCall, Usage,
        bindings::{Bindings, Indices, Route, SocketBindings, SocketIndices, sockets::Endpoint},
        sockets::{Join, hub::Effect},
    },
    config::Limits,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::error::Elapsed;
use wasmtime::{
    Engine, ResourceLimiter, Store, StoreContextMut, UpdateDeadline,
    component::{InstancePre, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// Elements of one guest table; a compiled Rust component has some hundred.
const MAX_TABLE_ELEMENTS: usize = 50_000;

/// Optional exports.
const SOCKETS: &str = "shema:sockets/connection-handler@0.1.0";
const HEALTH: &str = "shema:health/check@0.1.0";

/// The store's data: the view of one call on the capabilities, and closed WASI.
pub struct State {
    pub call: Call,
    pub table: ResourceTable,
    wasi: WasiCtx,
    stderr: Tail,
    memory: Memory,
    /// End of the present call; guards against a guest that the timer cannot
    /// reach because its thread never gets back to the executor.
    deadline: Instant,
}

impl HasCall for State {
    fn call(&mut self) -> &mut Call {
        &mut self.call
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

pub struct Instance {
    store: Store<State>,
    bindings: Bindings,
    sockets: Option<SocketBindings>,
    calls: u32,
}

/// What an instance is made from.
pub struct Prepared {
    pre: InstancePre<State>,
    indices: Indices,
    /// If the component holds connections.
    sockets: Option<SocketIndices>,
}

impl Prepared {
    /// An error if the exports are not those of the contract.
    pub fn new(pre: InstancePre<State>) -> wasmtime::Result<Prepared> {
        let holds = pre.component().get_export_index(None, SOCKETS).is_some();
        let sockets = holds.then(|| SocketIndices::new(&pre)).transpose()?;
        Ok(Prepared { indices: Indices::new(&pre)?, sockets, pre })
    }
}

impl Instance {
    pub async fn new(
        engine: &Engine,
        prepared: &Prepared,
        grants: &Arc<Grants>,
        limits: &Limits,
        stats: &Arc<Stats>,
    ) -> wasmtime::Result<Instance> {
        let mut store = new_store(engine, grants, limits, stats);
        let instance = prepared.pre.instantiate_async(&mut store).await?;
        let bindings = prepared.indices.load(&mut store, &instance)?;
        let sockets = prepared.sockets.as_ref().map(|indices| indices.load(&mut store, &instance)).transpose()?;
        Ok(Instance { store, bindings, sockets, calls: 0 })
    }

    /// The component's route table.
    pub async fn routes(&mut self) -> Result<Vec<Route>, Failure> {
        self.store.data_mut().deadline = Instant::now() + PROBE_DEADLINE;
        let routes = self.bindings.shema_http_handler().call_routes(&mut self.store);
        let routes = tokio::time::timeout(PROBE_DEADLINE, routes).await;
        self.outcome(routes, PROBE_DEADLINE)
    }

    /// What the component says of its routes, as JSON; empty if nothing.
    pub async fn describe(&mut self) -> Result<String, Failure> {
        self.store.data_mut().deadline = Instant::now() + PROBE_DEADLINE;
        let text = self.bindings.shema_http_handler().call_describe(&mut self.store);
        let text = tokio::time::timeout(PROBE_DEADLINE, text).await;
        self.outcome(text, PROBE_DEADLINE)
    }

    /// The paths under which it holds connections.
    pub async fn endpoints(&mut self) -> Result<Vec<Endpoint>, Failure> {
        self.store.data_mut().deadline = Instant::now() + PROBE_DEADLINE;
        let Some(sockets) = &self.sockets else { return Ok(Vec::new()) };
        let endpoints = sockets.shema_sockets_connection_handler().call_endpoints(&mut self.store);
        let endpoints = tokio::time::timeout(PROBE_DEADLINE, endpoints).await;
        self.outcome(endpoints, PROBE_DEADLINE)
    }

    /// Runs one call. After an error the instance is of no further use.
    pub async fn invoke(
        &mut self,
        mut context: Context,
        invocation: Invocation<'_>,
        deadline: Duration,
    ) -> Result<Outcome, Failure> {
        self.calls += 1;
        context.deadline = Some(Instant::now() + deadline);
        let state = self.store.data_mut();
        state.deadline = Instant::now() + deadline + 2 * TICK;
        state.call.begin(context);
        // Dropping the future at the deadline unwinds the guest; the caller
        // then drops the store and with it everything the call held.
        let answer = tokio::time::timeout(deadline, self.call(invocation)).await;
        self.outcome(answer, deadline)
    }

    fn outcome<T>(&self, outcome: Result<wasmtime::Result<T>, Elapsed>, deadline: Duration) -> Result<T, Failure> {
        match outcome {
            Ok(Ok(answer)) => Ok(answer),
            // On a busy machine the guest meets its end before the timer does.
            Ok(Err(_)) if Instant::now() >= self.store.data().deadline => Err(Failure::Timeout(deadline)),
            Ok(Err(error)) => Err(self.trap(&error)),
            Err(_) => Err(Failure::Timeout(deadline)),
        }
    }

    async fn call(&mut self, invocation: Invocation<'_>) -> wasmtime::Result<Outcome> {
        let store = &mut self.store;
        if let Invocation::Request(request) = invocation {
            let answer = self.bindings.shema_http_handler().call_handle(store, request).await;
            return answer.map(Outcome::Response);
        }
        let Some(sockets) = &self.sockets else { return Err(wasmtime::format_err!("it holds no connections")) };
        let sockets = sockets.shema_sockets_connection_handler();
        match invocation {
            Invocation::Request(_) => (),
            Invocation::Socket(connection, event) => sockets.call_handle(store, connection, event).await?,
            Invocation::Published { channel, payload } => sockets.call_published(store, channel, payload).await?,
            Invocation::Missed(rooms) => sockets.call_missed(store, rooms).await?,
        }
        Ok(Outcome::Done)
    }

    /// What the call has asked of the hub, and what is held back until it is done.
    pub fn take_effects(&mut self) -> (Vec<Effect>, Vec<Join>) {
        self.store.data_mut().call.take_effects()
    }

    /// Ends the call: what it left open is rolled back. Returns its usage.
    pub fn finish(&mut self) -> Usage {
        self.store.data_mut().call.end()
    }

    /// True if the instance may serve another call.
    pub fn is_reusable(&self, limits: &Limits) -> bool {
        self.calls < limits.reuse && self.store.data().memory.bytes <= limits.recycle_above_mib << 20
    }

    /// With the end of what the guest wrote to stderr, usually a panic message.
    fn trap(&self, error: &wasmtime::Error) -> Failure {
        Failure::Trap(format!("{error:#} {}", self.store.data().stderr.take()))
    }
}

/// What the component says of its health, asked in an instance that serves nothing
/// else; healthy if it exports no check.
pub async fn check_health(
    engine: &Engine,
    prepared: &Prepared,
    grants: &Arc<Grants>,
    limits: &Limits,
    stats: &Arc<Stats>,
) -> wasmtime::Result<Result<(), String>> {
    let mut store = new_store(engine, grants, limits, stats);
    let instance = prepared.pre.instantiate_async(&mut store).await?;
    let package = instance.get_export_index(&mut store, None, HEALTH);
    let check = package.and_then(|package| instance.get_export_index(&mut store, Some(&package), "check"));
    let Some(check) = check else { return Ok(Ok(())) };
    let check = instance.get_typed_func::<(), (Result<(), String>,)>(&mut store, check)?;
    store.data_mut().deadline = Instant::now() + PROBE_DEADLINE;
    store.data_mut().call.begin(Context { read_only: true, ..Context::default() });
    let (health,) = check.call_async(&mut store, ()).await?;
    Ok(health)
}

fn new_store(engine: &Engine, grants: &Arc<Grants>, limits: &Limits, stats: &Arc<Stats>) -> Store<State> {
    let stderr = Tail::default();
    let state = State {
        call: Call::new(Arc::clone(grants)),
        table: ResourceTable::new(),
        wasi: WasiCtx::builder().stderr(stderr.clone()).allow_tcp(false).allow_udp(false).build(),
        stderr,
        memory: Memory::new(limits, stats),
        deadline: Instant::now() + Duration::from_secs(60),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.memory);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(on_epoch);
    store
}

/// Lets the executor run between two slices of a computing guest, and ends a
/// guest that is past its deadline.
fn on_epoch(store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    if Instant::now() >= store.data().deadline {
        return Ok(UpdateDeadline::Interrupt);
    }
    Ok(UpdateDeadline::Yield(1))
}

/// Counts and bounds the linear memory of one instance; lives as long as it.
pub struct Memory {
    max_bytes: usize,
    pub bytes: usize,
    stats: Arc<Stats>,
}

impl Memory {
    pub fn new(limits: &Limits, stats: &Arc<Stats>) -> Memory {
        stats.instance_made();
        Memory { max_bytes: limits.memory_mib << 20, bytes: 0, stats: Arc::clone(stats) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stats.instance_dropped();
    }
}

impl ResourceLimiter for Memory {
    /// A refused growth is -1 to the guest, which a Rust guest turns into a trap.
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_sub(current).saturating_add(desired);
        let fits = bytes <= self.max_bytes;
        if fits {
            self.bytes = bytes;
            self.stats.saw_memory(bytes);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}
