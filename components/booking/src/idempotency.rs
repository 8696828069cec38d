//! Requests that are sent twice and must be carried out once.
//!
//! A key is reserved in Redis before the work and keeps its outcome after it.
//! Redis only makes the second answer fast and certain while the first request
//! still runs: what guards for ever, and while Redis is away, are unique
//! columns.

use crate::domain::{UserId, bookings};
use sdk::{Error, Result, Uuid, redis, settings};
use serde_json::{Value, json};

/// Seconds for which a request that never ended blocks its key; longer than
/// any request may run.
const RUNNING_SECONDS: i64 = 60;
const RUNNING: &str = r#"{"state":"running"}"#;

/// Where a key counts, and what a repetition is told.
pub struct Key {
    name: String,
    told: &'static [&'static str],
}

impl Key {
    pub fn registration(key: &Uuid) -> Self {
        Self { name: format!("course_registration:{key}"), told: &["booking_id"] }
    }

    pub fn booking(user: &UserId, key: &Uuid) -> Self {
        Self { name: format!("booking_create:{user}:{key}"), told: &["booking_id"] }
    }

    pub fn enrollment(user: &UserId, key: &Uuid) -> Self {
        Self { name: format!("enrollment_create:{user}:{key}"), told: &["booking_id", "enrollment_id"] }
    }

    fn duplicate(&self, outcome: &Value) -> Error {
        let told = self.told.iter().map(|name| ((*name).to_owned(), outcome[*name].clone()));
        bookings::duplicate().with(Value::Object(told.collect()))
    }
}

/// Does `work` unless a request with the key has done it or is doing it. If it
/// fails the key is free again, so that the client may correct and resend.
/// `outcome` is what is kept of it.
pub fn once<T>(key: Option<&Key>, work: impl FnOnce() -> Result<T>, outcome: impl FnOnce(&T) -> Value) -> Result<T> {
    let Some(key) = key else { return work() };
    // None: Redis does not say, and the work's own guard has to do.
    let reserved = redis::set_if_absent(&key.name, RUNNING, RUNNING_SECONDS);
    if reserved == Some(false) {
        // Nothing is known of one that runs, or that has given up just now.
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
