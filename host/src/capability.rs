//! What a component may reach: each capability is a WIT package in `wit/deps`
//! and a module here.
//!
//! A component's imports are its request, the operator's grants in `host.toml`
//! the permission; [`missing_grant`] compares the two when a component is
//! loaded, so an ungranted import is never met at request time. A [`Call`] is
//! the view of one call on all of them.

pub mod bindings;
pub mod calls;
pub mod database;
pub mod events;
pub mod http_client;
pub mod log;
pub mod redis;
pub mod settings;
pub mod sockets;
pub mod tokens;

use crate::{
    config,
    runtime::{Version, registry::Registry},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

/// What the host holds for all components.
pub struct Shared {
    pub owner: crate::services::database::Pool,
    pub redis: Arc<redis::Store>,
    pub signer: Arc<tokens::Signer>,
    pub outbox_secret: String,
    pub notices: Arc<crate::telemetry::operator_events::Notices>,
    pub hub: Arc<crate::capability::sockets::hub::Hub>,
    pub limiter: Arc<crate::gateway::http::rate_limit::Limiter>,
    pub http_client: http_client::Client,
    pub certificates: Arc<tokens::certificates::Store>,
    pub service_account: Option<Arc<tokens::service_account::Account>>,
    /// Set when all components are loaded. Weak, because the registry holds the
    /// components, which hold this.
    pub directory: Arc<OnceLock<Weak<Registry>>>,
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
    pub http: http_client::Grant,
    pub certificates: Arc<tokens::certificates::Store>,
    pub service_account: Option<Arc<tokens::service_account::Account>>,
    pub calls: calls::Grant,
    pub sockets: sockets::Grant,
}

impl Held {
    /// `pool`: connections logged in as the role that the component is granted.
    pub fn new(
        name: &str,
        component: &config::Component,
        shared: &Arc<Shared>,
        pool: Option<crate::services::database::Pool>,
    ) -> Held {
        if let Some(channels) = &component.grants.sockets {
            shared.hub.grant(name, channels);
        }
        Held {
            name: name.to_owned(),
            database: pool.map(|pool| database::Grant::new(pool, &component.limits)),
            redis: redis::Grant { patterns: component.grants.redis.clone(), store: Arc::clone(&shared.redis) },
            events: events::Grant { channels: component.grants.events.clone(), secret: shared.outbox_secret.clone() },
            signer: Arc::clone(&shared.signer),
            settings: component.values.clone(),
            http: http_client::Grant { origins: component.origins.clone(), client: shared.http_client.clone() },
            certificates: Arc::clone(&shared.certificates),
            service_account: shared.service_account.clone(),
            calls: calls::Grant {
                components: component.grants.calls.clone(),
                directory: Arc::clone(&shared.directory),
            },
            sockets: sockets::Grant {
                hub: Arc::clone(&shared.hub),
                limiter: Arc::clone(&shared.limiter),
                shared: Arc::downgrade(shared),
            },
        }
    }
}

/// What the host knows of the request that a call answers.
#[derive(Clone)]
pub struct Context {
    pub request_id: String,
    pub version: String,
    /// The access token of the request, if it was verified.
    pub presented: Option<tokens::Presented>,
    /// Calls that this one is inside of.
    pub depth: u8,
    /// Ends with the call that this one is inside of.
    pub deadline: Option<Instant>,
    /// A repetition, which must leave no trace.
    pub read_only: bool,
}

impl Context {
    pub fn new(request_id: &str, version: &Version, presented: Option<tokens::Presented>) -> Context {
        Context {
            request_id: request_id.to_owned(),
            version: version.id.to_string(),
            presented,
            depth: 0,
            deadline: None,
            read_only: false,
        }
    }
}

impl Context {
    /// Of a question that the host asks for itself.
    pub fn of_host() -> Context {
        Context {
            request_id: String::new(),
            version: String::new(),
            presented: None,
            depth: 0,
            deadline: None,
            read_only: true,
        }
    }
}

/// One call's view on the capabilities.
pub struct Call {
    pub held: Arc<Held>,
    context: Option<Context>,
    pub database: database::Session,
    redis_time: Duration,
    log_lines: u32,
    asked: sockets::Asked,
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
        Call {
            held,
            context: None,
            database,
            redis_time: Duration::ZERO,
            log_lines: 0,
            asked: sockets::Asked::default(),
        }
    }

    pub fn begin(&mut self, context: Context) {
        self.database = database::Session::new(self.held.database.as_ref(), context.read_only);
        self.context = Some(context);
        self.redis_time = Duration::ZERO;
        self.log_lines = 0;
        self.asked = sockets::Asked::default();
    }

    /// The present call must leave no trace.
    fn is_read_only(&self) -> bool {
        self.context.as_ref().is_some_and(|context| context.read_only)
    }

    /// Of the present call, for log lines.
    fn request_id(&self) -> &str {
        self.context.as_ref().map_or("", |context| context.request_id.as_str())
    }

    /// Ends the call: what it left open is rolled back, behind the answer.
    pub fn end(&mut self) -> Usage {
        let usage = Usage { database: self.database.time(), redis: self.redis_time };
        self.database = database::Session::default();
        log::note_dropped(self);
        usage
    }
}

/// All that a component may import beside WASI.
pub const INTERFACES: [&str; 14] = [
    "shema:http/types@0.1.0",
    "shema:database/client@0.1.0",
    "shema:redis/client@0.1.0",
    "shema:events/outbox@0.1.0",
    "shema:tokens/sessions@0.1.0",
    "shema:tokens/passwords@0.1.0",
    "shema:tokens/certificates@0.1.0",
    "shema:tokens/service-account@0.1.0",
    "shema:http-client/client@0.1.0",
    "shema:components/calls@0.1.0",
    "shema:settings/values@0.1.0",
    "shema:log/log@0.1.0",
    "shema:sockets/types@0.1.0",
    "shema:sockets/hub@0.1.0",
];

/// The capability that an import asks for and the operator has not granted;
/// None if all is well. `import`: as in `shema:database/client@0.1.0`.
pub fn missing_grant(import: &str, grants: &config::Grants) -> Option<&'static str> {
    let interface = import.split('@').next().unwrap_or_default();
    let token = |word: &str| grants.tokens.iter().any(|granted| granted == word);
    match interface {
        "shema:database/client" if grants.database.is_none() => Some("database = \"ROLE\""),
        "shema:redis/client" if grants.redis.is_empty() => Some("redis = [\"PATTERN\"]"),
        "shema:events/outbox" if grants.events.is_empty() => Some("events = [\"CHANNEL\"]"),
        "shema:tokens/sessions" if !token("sessions") => Some("tokens = [\"sessions\"]"),
        "shema:tokens/certificates" if !token("certificates") => Some("tokens = [\"certificates\"]"),
        "shema:tokens/service-account" if !token("service-account") => Some("tokens = [\"service-account\"]"),
        "shema:http-client/client" if grants.http.is_empty() => Some("http = [\"ORIGIN\"]"),
        "shema:components/calls" if grants.calls.is_empty() => Some("calls = [\"COMPONENT\"]"),
        "shema:sockets/hub" if grants.sockets.is_none() => Some("sockets = [\"CHANNEL\"]"),
        "shema:tokens/passwords" if !token("passwords") => Some("tokens = [\"passwords\"]"),
        _ => None,
    }
}

/// `*` at the end of a pattern matches any rest; without it, only the whole.
pub fn matches_pattern(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    })
}

#[cfg(test)]
mod tests {
    use super::INTERFACES;

    #[test]
    fn what_may_be_imported_is_what_the_world_offers() {
        let world = include_str!("../../wit/world.wit");
        let imports = world.lines().filter_map(|line| line.trim().strip_prefix("import ")?.strip_suffix(';'));
        let missing: Vec<&str> = imports.filter(|import| !INTERFACES.contains(import)).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
