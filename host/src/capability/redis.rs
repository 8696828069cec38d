//! `shema:redis`: the keys that the operator grants a component by pattern.

use super::{CallState, Context, Granting, HasCall, Usage, bindings::{RedisError, redis::self as wit}};
use crate::{config, services::{patterns, redis::{self, Store, StoreError}}};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use wasmtime::component::{HasData, Linker};

pub const INTERFACES: &[&str] = &["shema:redis/commands@0.1.0"];

const MAX_TTL_MS: u64 = 31 * 86_400_000;
const MAX_VALUE_BYTES: usize = 512 << 10;
const MAX_KEY_BYTES: usize = 512;

type Result<T> = std::result::Result<T, RedisError>;

/// The keys that one component may touch.
pub struct Grant {
    patterns: Vec<String>,
    pub store: Arc<Store>,
}

#[derive(Default)]
pub struct State {
    time: Duration,
}

impl CallState for State {
    fn end(self, _component: &str, _context: &Context, usage: &mut Usage) {
        usage.redis = self.time;
    }
}

pub fn missing_grant(interface: &str, grants: &config::Grants) -> Option<&'static str> {
    (interface == "shema:redis/commands" && grants.redis.is_empty()).then_some("redis = [\"PATTERN\"]")
}

pub async fn grant(granting: &Granting<'_>) -> anyhow::Result<Grant> {
    let store = Arc::clone(&granting.shared.services.redis);
    Ok(Grant { patterns: granting.config.grants.redis.clone(), store })
}

pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, Redis>(linker, |state| {
        let call = state.call();
        View { grant: &call.grants.redis, context: &call.context, state: &mut call.redis }
    })
}

struct Redis;

impl HasData for Redis {
    type Data<'a> = View<'a>;
}

struct View<'a> {
    grant: &'a Grant,
    context: &'a Context,
    state: &'a mut State,
}

impl View<'_> {
    fn check_key(&self, key: &str) -> Result<()> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(wit::Error::Invalid(format!("a key has 1 to {MAX_KEY_BYTES} bytes")).into());
        }
        if !patterns::matches(&self.grant.patterns, key) {
            return Err(wit::Error::Denied(key.to_owned()).into());
        }
        Ok(())
    }

    /// For changes: a call that must leave no trace finds Redis away, which a
    /// component has to bear at any time.
    fn check_change(&self, key: &str) -> Result<()> {
        if self.context.read_only { Err(wit::Error::Unavailable.into()) } else { self.check_key(key) }
    }

    async fn timed<T>(&mut self, work: impl Future<Output = std::result::Result<T, StoreError>>) -> Result<T> {
        let started = Instant::now();
        let done = work.await;
        self.state.time += started.elapsed();
        done.map_err(|error| match error {
            StoreError::Unavailable => wit::Error::Unavailable.into(),
            StoreError::Refused(why) => wit::Error::Invalid(why).into(),
        })
    }
}

fn ttl(milliseconds: u64) -> Result<Duration> {
    if !(1..=MAX_TTL_MS).contains(&milliseconds) {
        return Err(wit::Error::Invalid("a time to live is 1 ms to 31 days".into()).into());
    }
    Ok(Duration::from_millis(milliseconds))
}

fn checked(value: Vec<u8>) -> Result<Vec<u8>> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(wit::Error::Invalid(format!("a value has at most {MAX_VALUE_BYTES} bytes")).into());
    }
    Ok(value)
}

impl wit::Host for View<'_> {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        self.check_key(&key)?;
        let store = &self.grant.store;
        self.timed(store.get(&key)).await
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: u64) -> Result<()> {
        self.check_change(&key)?;
        let (store, value, ttl) = (&self.grant.store, checked(value)?, ttl(ttl_ms)?);
        self.timed(store.set(&key, value, ttl)).await
    }

    async fn set_if_absent(&mut self, key: String, value: Vec<u8>, ttl_ms: u64) -> Result<bool> {
        self.check_change(&key)?;
        let (store, value, ttl) = (&self.grant.store, checked(value)?, ttl(ttl_ms)?);
        self.timed(store.set_if_absent(&key, value, ttl)).await
    }

    async fn delete(&mut self, key: String) -> Result<bool> {
        self.check_change(&key)?;
        let store = &self.grant.store;
        self.timed(store.delete(&key)).await
    }

    async fn increment(&mut self, key: String, by: i32, ttl_ms: u64) -> Result<i64> {
        self.check_change(&key)?;
        let (store, ttl) = (&self.grant.store, ttl(ttl_ms)?);
        self.timed(store.increment(&key, by.into(), ttl)).await.map(|counter: redis::Counter| counter.count)
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl_ms: u64,
    ) -> Result<bool> {
        self.check_change(&key)?;
        let (store, value, ttl) = (&self.grant.store, checked(value)?, ttl(ttl_ms)?);
        self.timed(store.compare_and_set(&key, expected, value, ttl)).await
    }

    async fn expire(&mut self, key: String, ttl_ms: u64) -> Result<bool> {
        self.check_change(&key)?;
        let (store, ttl) = (&self.grant.store, ttl(ttl_ms)?);
        self.timed(store.expire(&key, ttl)).await
    }

    fn convert_error(&mut self, error: RedisError) -> wasmtime::Result<wit::Error> {
        error.downcast()
    }
}
