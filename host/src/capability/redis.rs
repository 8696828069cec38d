//! `shema:redis`: an accelerator and a bus, never the record of anything.
//!
//! With `REDIS_URL` a server, without it a stand-in inside the process; both
//! behave alike. Its absence is an ordinary answer: commands fail at once while
//! it is away and nothing waits for it.
//!
//! - `server`: the connection to a real Redis, made again for ever.
//! - `memory`: the stand-in.

mod memory;
mod server;

use super::{
    Call,
    bindings::redis::{Error, Host},
    matches_pattern,
};
use memory::Memory;
use server::Server;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

const MAX_TTL_MS: u64 = 31 * 86_400_000;
const MAX_VALUE_BYTES: usize = 512 << 10;
const MAX_KEY_BYTES: usize = 512;

/// A counter of a fixed window.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    pub count: i64,
    pub ends_in: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("Redis is not reachable")]
    Unavailable,
    #[error("{0}")]
    Refused(String),
}

type Result<T> = std::result::Result<T, StoreError>;

/// What a listener hears.
pub enum Heard {
    /// From here on messages are heard; some may have been missed before.
    Connected,
    Message {
        channel: String,
        payload: Vec<u8>,
    },
}

/// Keys and channels are without `REDIS_PREFIX`; the store adds it.
pub struct Store {
    prefix: String,
    backend: Backend,
}

enum Backend {
    Server(Server),
    Memory(Memory),
}

/// Runs the same method on whichever backend there is.
macro_rules! each {
    ($store:expr, $backend:ident => $call:expr) => {
        match &$store.backend {
            Backend::Server($backend) => $call.await,
            Backend::Memory($backend) => $call,
        }
    };
}

impl Store {
    /// Returns at once, whether or not the server can be reached.
    pub fn server(url: &str, prefix: &str) -> anyhow::Result<Store> {
        Ok(Store { prefix: prefix.to_owned(), backend: Backend::Server(Server::start(url)?) })
    }

    pub fn memory(prefix: &str) -> Store {
        Store { prefix: prefix.to_owned(), backend: Backend::Memory(Memory::new()) }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let key = self.name(key);
        each!(self, backend => backend.get(&key))
    }

    pub async fn set(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<()> {
        let key = self.name(key);
        each!(self, backend => backend.set(&key, value, ttl))
    }

    pub async fn set_if_absent(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<bool> {
        let key = self.name(key);
        each!(self, backend => backend.set_if_absent(&key, value, ttl))
    }

    pub async fn delete(&self, key: &str) -> Result<bool> {
        let key = self.name(key);
        each!(self, backend => backend.delete(&key))
    }

    pub async fn increment(&self, key: &str, by: i64, ttl: Duration) -> Result<Counter> {
        let key = self.name(key);
        each!(self, backend => backend.increment(&key, by, ttl))
    }

    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl: Duration,
    ) -> Result<bool> {
        let key = self.name(key);
        each!(self, backend => backend.compare_and_set(&key, expected, value, ttl))
    }

    pub async fn expire(&self, key: &str, ttl: Duration) -> Result<bool> {
        let key = self.name(key);
        each!(self, backend => backend.expire(&key, ttl))
    }

    /// True if any of the keys exists.
    pub async fn any_exists(&self, keys: &[String]) -> Result<bool> {
        let keys: Vec<String> = keys.iter().map(|key| self.name(key)).collect();
        each!(self, backend => backend.any_exists(&keys))
    }

    pub async fn publish(&self, channel: &str, payload: Vec<u8>) -> Result<()> {
        let channel = self.name(channel);
        each!(self, backend => backend.publish(&channel, payload))
    }

    /// Passes on what is published on channels that match the patterns, for as
    /// long as somebody takes it.
    pub async fn listen(&self, patterns: Vec<String>, heard: mpsc::Sender<Heard>) {
        match &self.backend {
            Backend::Server(server) => server.listen(&self.prefix, &patterns, heard).await,
            Backend::Memory(memory) => memory.listen(&self.prefix, heard).await,
        }
    }

    /// Whether commands are answered now.
    pub fn is_up(&self) -> bool {
        match &self.backend {
            Backend::Server(server) => server.is_up(),
            Backend::Memory(_) => true,
        }
    }
}

/// The keys that one component may touch.
pub struct Grant {
    pub patterns: Vec<String>,
    pub store: Arc<Store>,
}

impl Call {
    fn store(&self, key: &str) -> std::result::Result<Arc<Store>, Error> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(Error::Invalid(format!("a key has 1 to {MAX_KEY_BYTES} bytes")));
        }
        if !matches_pattern(&self.held.redis.patterns, key) {
            return Err(Error::Denied(key.to_owned()));
        }
        Ok(Arc::clone(&self.held.redis.store))
    }

    /// For changes: a call that must leave no trace finds Redis away, which a
    /// component has to bear at any time.
    fn writable(&self, key: &str) -> std::result::Result<Arc<Store>, Error> {
        if self.is_read_only() { Err(Error::Unavailable) } else { self.store(key) }
    }

    async fn timed<T>(&mut self, work: impl Future<Output = Result<T>>) -> std::result::Result<T, Error> {
        let started = Instant::now();
        let done = work.await;
        self.redis_time += started.elapsed();
        done.map_err(|error| match error {
            StoreError::Unavailable => Error::Unavailable,
            StoreError::Refused(why) => Error::Invalid(why),
        })
    }
}

fn ttl(milliseconds: u64) -> std::result::Result<Duration, Error> {
    if !(1..=MAX_TTL_MS).contains(&milliseconds) {
        return Err(Error::Invalid("a time to live is 1 ms to 31 days".into()));
    }
    Ok(Duration::from_millis(milliseconds))
}

fn checked(value: Vec<u8>) -> std::result::Result<Vec<u8>, Error> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(Error::Invalid(format!("a value has at most {MAX_VALUE_BYTES} bytes")));
    }
    Ok(value)
}

type Answer<T> = wasmtime::Result<std::result::Result<T, Error>>;

/// Turns `?` on the capability's own error into the answer of the call.
macro_rules! answer {
    ($work:expr) => {
        Ok(async { $work }.await)
    };
}

impl Host for Call {
    async fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        answer!({
            let store = self.store(&key)?;
            self.timed(store.get(&key)).await
        })
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: u64) -> Answer<()> {
        answer!({
            let store = self.writable(&key)?;
            self.timed(store.set(&key, checked(value)?, ttl(ttl_ms)?)).await
        })
    }

    async fn set_if_absent(&mut self, key: String, value: Vec<u8>, ttl_ms: u64) -> Answer<bool> {
        answer!({
            let store = self.writable(&key)?;
            self.timed(store.set_if_absent(&key, checked(value)?, ttl(ttl_ms)?)).await
        })
    }

    async fn delete(&mut self, key: String) -> Answer<bool> {
        answer!({
            let store = self.writable(&key)?;
            self.timed(store.delete(&key)).await
        })
    }

    async fn increment(&mut self, key: String, by: i64, ttl_ms: u64) -> Answer<i64> {
        answer!({
            let store = self.writable(&key)?;
            self.timed(store.increment(&key, by, ttl(ttl_ms)?)).await.map(|counter| counter.count)
        })
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl_ms: u64,
    ) -> Answer<bool> {
        answer!({
            let store = self.writable(&key)?;
            self.timed(store.compare_and_set(&key, expected, checked(value)?, ttl(ttl_ms)?)).await
        })
    }

    async fn expire(&mut self, key: String, ttl_ms: u64) -> Answer<bool> {
        answer!({
            let store = self.writable(&key)?;
            self.timed(store.expire(&key, ttl(ttl_ms)?)).await
        })
    }
}
