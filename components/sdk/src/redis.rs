//! Redis, which may be away at any moment: an error is logged and that is all
//! that comes of it, for no request fails because of Redis.

use crate::{bindings::shema::redis::commands, log};

/// Seconds of life of a key: at least one, at most the host's 31 days.
fn ttl_ms(seconds: i64) -> u64 {
    u64::try_from(seconds.clamp(1, 31 * 86_400)).unwrap_or(1) * 1_000
}

pub fn set(key: &str, value: &str, ttl_seconds: i64) {
    if let Err(error) = commands::set(key, value.as_bytes(), ttl_ms(ttl_seconds)) {
        log::warn(&format!("redis did not set a key: {error}"));
    }
}

pub fn delete(key: &str) {
    if let Err(error) = commands::delete(key) {
        log::warn(&format!("redis did not delete a key: {error}"));
    }
}

/// None if there is no such key, or no Redis to ask.
pub fn get(key: &str) -> Option<String> {
    match commands::get(key) {
        Ok(value) => String::from_utf8(value?).ok(),
        Err(error) => {
            log::warn(&format!("redis did not get a key: {error}"));
            None
        }
    }
}

/// `SET NX`: whether this call has set the key; None if Redis is away.
pub fn set_if_absent(key: &str, value: &str, ttl_seconds: i64) -> Option<bool> {
    match commands::set_if_absent(key, value.as_bytes(), ttl_ms(ttl_seconds)) {
        Ok(set) => Some(set),
        Err(error) => {
            log::warn(&format!("redis did not reserve a key: {error}"));
            None
        }
    }
}
