//! Requests that are sent twice and must be carried out once.
//!
//! A key is reserved in Redis before the work, and stored with the outcome after
//! it. Redis makes the second answer fast, and certain while the first request
//! still runs; what holds for ever, and without Redis, are unique columns.

use crate::domain::{UserId, bookings};
use sdk::{Error, Result, Uuid, redis, settings};
use serde_json::{Value, json};

/// Seconds for which a request that never ended blocks its key; longer than
/// any request may run.
const RUNNING_SECONDS: i64 = 60;
const RUNNING: &str = r#"{"state":"running"}"#;

/// A key in Redis, and the members of the outcome that a repeated request is told.
pub struct Key {
    name: String,
    shown: &'static [&'static str],
}

impl Key {
    pub fn registration(key: &Uuid) -> Self {
        Self { name: format!("course_registration:{key}"), shown: &["booking_id"] }
    }

    pub fn booking(user: &UserId, key: &Uuid) -> Self {
        Self { name: format!("booking_create:{user}:{key}"), shown: &["booking_id"] }
    }

    pub fn enrollment(user: &UserId, key: &Uuid) -> Self {
        Self { name: format!("enrollment_create:{user}:{key}"), shown: &["booking_id", "enrollment_id"] }
    }

    fn duplicate(&self, outcome: &Value) -> Error {
        let shown = self.shown.iter().map(|name| ((*name).to_owned(), outcome[*name].clone()));
        bookings::duplicate().with(Value::Object(shown.collect()))
    }
}

/// Runs `work` unless a request with the same key has run it or is running it. If
/// it fails, the key is free again, so that the client may correct and resend.
/// `outcome` gives what is stored of its result.
pub fn once<T>(key: Option<&Key>, work: impl FnOnce() -> Result<T>, outcome: impl FnOnce(&T) -> Value) -> Result<T> {
    let Some(key) = key else { return work() };
    // None: Redis is away, and the unique columns alone decide.
    let reserved = redis::set_if_absent(&key.name, RUNNING, RUNNING_SECONDS);
    if reserved == Some(false) {
        // There is no outcome while the other request runs, or if it just failed.
        let outcome = redis::get(&key.name).and_then(|text| serde_json::from_str(&text).ok());
        return Err(key.duplicate(&outcome.unwrap_or_default()));
    }
    let result = work();
    match &result {
        Ok(made) => {
            let mut done = outcome(made);
            done["state"] = json!("done");
            redis::set(&key.name, &done.to_string(), settings::integer("IDEMPOTENCY_KEY_TTL").unwrap_or(86_400));
        }
        Err(_) if reserved == Some(true) => redis::delete(&key.name),
        Err(_) => {}
    }
    result
}
