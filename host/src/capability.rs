//! What a component may reach: each capability is a WIT package in `wit/deps`
//! and a module here.
//!
//! A component's imports are its request, the operator's grants in `host.toml`
//! the permission; [`missing_grant`] compares the two when a component is
//! loaded, so an ungranted import is never met at request time. A [`Call`] is
//! the view of one call on all of them.

pub mod database;
pub mod events;
pub mod log;
pub mod redis;
pub mod settings;
pub mod tokens;

use crate::config;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What the host holds for all components.
pub struct Shared {
    pub owner: crate::database::Pool,
    pub redis: Arc<redis::Store>,
    pub signer: Arc<tokens::Signer>,
    pub outbox_secret: String,
}

impl Shared {
    /// Whether PostgreSQL answers now.
    pub async fn database_answers(&self) -> bool {
        let Ok(mut lease) = self.owner.get().await else { return false };
        let answers = sqlx::Connection::ping(lease.connection()).await.is_ok();
        if answers {
            lease.give_back();
        }
        answers
    }
}

/// What one component holds, shared by all its instances and versions.
pub struct Held {
    pub name: String,
    pub database: Option<database::Grant>,
    pub redis: redis::Grant,
    pub events: events::Grant,
    pub signer: Arc<tokens::Signer>,
    pub settings: BTreeMap<String, String>,
}

impl Held {
    /// `pool`: connections logged in as the role that the component is granted.
    pub fn new(
        name: &str,
        component: &config::Component,
        shared: &Shared,
        pool: Option<crate::database::Pool>,
    ) -> Held {
        Held {
            name: name.to_owned(),
            database: pool.map(|pool| database::Grant::new(pool, &component.limits)),
            redis: redis::Grant { patterns: component.grants.redis.clone(), store: Arc::clone(&shared.redis) },
            events: events::Grant {
                channels: component.grants.events.clone(),
                secret: shared.outbox_secret.clone(),
            },
            signer: Arc::clone(&shared.signer),
            settings: component.values.clone(),
        }
    }
}

/// What the host knows of the request that a call answers.
#[derive(Clone, Default)]
pub struct Context {
    pub request_id: String,
    pub version: String,
    /// The access token of the request, if it was verified.
    pub presented: Option<tokens::Presented>,
}

/// One call's view on the capabilities.
pub struct Call {
    pub held: Arc<Held>,
    pub context: Context,
    pub database: database::Session,
    redis_time: Duration,
    log_lines: u32,
}

/// Time that one call spent outside the component.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub database: Duration,
    pub redis: Duration,
}

impl Call {
    pub fn new(held: Arc<Held>) -> Call {
        let database = database::Session::default();
        Call { held, context: Context::default(), database, redis_time: Duration::ZERO, log_lines: 0 }
    }

    pub fn begin(&mut self, context: Context) {
        self.context = context;
        self.database = database::Session::new(self.held.database.as_ref());
        self.redis_time = Duration::ZERO;
        self.log_lines = 0;
    }

    /// Ends the call: what it left open is rolled back, behind the answer.
    pub fn end(&mut self) -> Usage {
        let usage = Usage { database: self.database.time(), redis: self.redis_time };
        self.database = database::Session::default();
        log::note_dropped(self);
        usage
    }
}

/// The capability that an import asks for and the operator has not granted;
/// None if all is well. `import`: as in `shema:database/client@0.1.0`.
pub fn missing_grant(import: &str, grants: &config::Grants) -> Option<&'static str> {
    let interface = import.split('@').next().unwrap_or_default();
    let token = |word: &str| grants.tokens.iter().any(|granted| granted == word);
    match interface {
        "shema:database/client" if grants.database.is_none() => Some("database"),
        "shema:redis/client" if grants.redis.is_empty() => Some("redis"),
        "shema:events/outbox" if grants.events.is_empty() => Some("events"),
        "shema:tokens/sessions" if !token("sessions") => Some("tokens = [\"sessions\"]"),
        "shema:tokens/passwords" if !token("passwords") => Some("tokens = [\"passwords\"]"),
        _ => None,
    }
}

/// `*` at the end of a pattern matches any rest; without it, only the whole.
fn matches_pattern(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    })
}
