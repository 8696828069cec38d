//! Redis, which may be away at any moment: an error is logged and that is all
//! that comes of it, for no request fails because of Redis.

use crate::{bindings::shema::redis::client, log};

/// Seconds of life of a key: at least one, at most the host's 31 days.
fn ttl_ms(seconds: i64) -> u64 {
    u64::try_from(seconds.clamp(1, 31 * 86_400)).unwrap_or(1) * 1_000
}

pub fn set(key: &str, value: &str, ttl_seconds: i64) {
    if let Err(error) = client::set(key, value.as_bytes(), ttl_ms(ttl_seconds)) {
        log::warn(&format!("redis did not set a key: {error}"));
    }
}

pub fn delete(key: &str) {
    if let Err(error) = client::delete(key) {
        log::warn(&format!("redis did not delete a key: {error}"));
    }
}
