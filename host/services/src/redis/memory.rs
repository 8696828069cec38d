//! The stand-in for Redis inside the process: the same commands with the same
//! behaviour, for development and for a host of its own.
//!
//! Nobody can subscribe from outside; whoever listens inside hears all.

use super::{Counter, Heard, Result, StoreError};
use moka::{Expiry, ops::compute::Op, sync::Cache};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc};

/// Messages that a slow listener may be behind.
const WAITING: usize = 1_000;

/// Bytes of keys and values; past it the least used go, which Redis may also do.
const MAX_BYTES: u64 = 256 << 20;

#[derive(Clone)]
struct Entry {
    value: Vec<u8>,
    expires_at: Instant,
}

pub struct Memory {
    entries: Cache<String, Entry>,
    published: broadcast::Sender<(String, Vec<u8>)>,
}

/// Each entry has its own time to live.
struct OwnEnd;

impl Expiry<String, Entry> for OwnEnd {
    fn expire_after_create(&self, _: &String, entry: &Entry, now: Instant) -> Option<Duration> {
        Some(entry.expires_at.saturating_duration_since(now))
    }

    fn expire_after_update(&self, _: &String, entry: &Entry, now: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.expires_at.saturating_duration_since(now))
    }
}

impl Memory {
    pub fn new() -> Memory {
        let weigh = |key: &String, entry: &Entry| {
            u32::try_from(key.len() + entry.value.len() + size_of::<Entry>()).unwrap_or(u32::MAX)
        };
        Memory {
            entries: Cache::builder().max_capacity(MAX_BYTES).weigher(weigh).expire_after(OwnEnd).build(),
            published: broadcast::Sender::new(WAITING),
        }
    }

    fn live(&self, key: &str) -> Option<Entry> {
        self.entries.get(key).filter(|entry| entry.expires_at > Instant::now())
    }

    /// Replaces an entry in one step. `change` gets the live value and returns
    /// the new entry, or None to leave things as they are.
    fn change(&self, key: &str, change: impl FnOnce(Option<Entry>) -> Option<Entry>) {
        self.entries.entry_by_ref(key).and_compute_with(|old| {
            let old = old.map(|entry| entry.into_value()).filter(|entry| entry.expires_at > Instant::now());
            change(old).map_or(Op::Nop, Op::Put)
        });
    }

    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.live(key).map(|entry| entry.value))
    }

    pub fn set(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<()> {
        self.change(key, |_| Some(entry(value, ttl)));
        Ok(())
    }

    pub fn set_if_absent(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<bool> {
        self.compare_and_set(key, None, value, ttl)
    }

    pub fn delete(&self, key: &str) -> Result<bool> {
        let removed = self.entries.remove(key);
        Ok(removed.is_some_and(|entry| entry.expires_at > Instant::now()))
    }

    pub fn increment(&self, key: &str, by: i64, ttl: Duration) -> Result<Counter> {
        let mut counter = Err(StoreError::Refused("the value is not a whole number or would overflow".into()));
        self.change(key, |old| {
            let expires_at = old.as_ref().map_or_else(|| Instant::now() + ttl, |entry| entry.expires_at);
            let present = old.map_or(Some(0), |entry| std::str::from_utf8(&entry.value).ok()?.parse::<i64>().ok());
            let count = present?.checked_add(by)?;
            counter = Ok(Counter { count, ends_in: expires_at.saturating_duration_since(Instant::now()) });
            Some(Entry { value: count.to_string().into_bytes(), expires_at })
        });
        counter
    }

    pub fn compare_and_set(&self, key: &str, expected: Option<Vec<u8>>, value: Vec<u8>, ttl: Duration) -> Result<bool> {
        let mut swapped = false;
        self.change(key, |old| {
            swapped = old.map(|entry| entry.value) == expected;
            swapped.then(|| entry(value, ttl))
        });
        Ok(swapped)
    }

    pub fn expire(&self, key: &str, ttl: Duration) -> Result<bool> {
        let mut found = false;
        self.change(key, |old| {
            found = old.is_some();
            old.map(|old| entry(old.value, ttl))
        });
        Ok(found)
    }

    pub fn any_exists(&self, keys: &[String]) -> Result<bool> {
        Ok(keys.iter().any(|key| self.live(key).is_some()))
    }

    pub fn publish(&self, channel: &str, payload: Vec<u8>) -> Result<()> {
        // Nobody may be listening.
        let _ = self.published.send((channel.to_owned(), payload));
        Ok(())
    }

    pub async fn listen(&self, prefix: &str, heard: mpsc::Sender<Heard>) {
        let mut published = self.published.subscribe();
        let mut event = Heard::Connected;
        while heard.send(event).await.is_ok() {
            event = match published.recv().await {
                Ok((channel, payload)) => {
                    let channel = channel.strip_prefix(prefix).unwrap_or(&channel).to_owned();
                    Heard::Message { channel, payload }
                }
                // Some were missed, as on a new connection.
                Err(broadcast::error::RecvError::Lagged(_)) => Heard::Connected,
                Err(broadcast::error::RecvError::Closed) => return,
            };
        }
    }
}

fn entry(value: Vec<u8>, ttl: Duration) -> Entry {
    Entry { value, expires_at: Instant::now() + ttl }
}
