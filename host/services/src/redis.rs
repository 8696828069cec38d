//! Redis: an accelerator and a bus, never the record of anything.
//!
//! With `REDIS_URL` a server, without it a stand-in inside the process; both
//! behave alike. Its absence is an ordinary answer: commands fail at once while
//! it is away and nothing waits for it.
//!
//! - `server`: the connection to a real Redis, made again for ever.
//! - `memory`: the stand-in.

mod memory;
mod server;

use memory::Memory;
use server::Server;
use std::time::Duration;
use tokio::sync::mpsc;

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
