//! What the host itself stands on: Postgres, Redis, keys, HTTP to the outside,
//! and its logs. Nothing here knows of WebAssembly, so its tests build in seconds.
//!
//! - [`telemetry`]: logs, and events for operators. It knows nothing of the rest.
//! - [`database`]: pools of connections, migrations; [`leader`]: which host of a
//!   cluster does what only one may do.
//! - [`redis`]: a server, or its stand-in.
//! - [`tokens`]: who is asking; [`crypto`]: hashes and keys.
//! - [`rate_limit`]: how many requests somebody may send.
//! - [`outbox`]: ships committed events.
//! - [`http_client`]: requests to the outside.

// The host answers hostile input; a panic would be somebody else's lost request.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo))]

pub mod crypto;
pub mod database;
pub mod http_client;
pub mod leader;
pub mod outbox;
pub mod patterns;
pub mod rate_limit;
pub mod redis;
pub mod telemetry;
pub mod tokens;

use std::sync::Arc;
use telemetry::operator_events::OperatorEvents;

/// One of each, for the whole host.
pub struct Services {
    /// Logged in as the owner of all tables.
    pub owner: database::Pool,
    /// Logged in as the roles of components.
    pub roles: database::Roles,
    pub redis: Arc<redis::Store>,
    pub signer: Arc<tokens::Signer>,
    pub verifier: Arc<tokens::Verifier>,
    pub certificates: Arc<tokens::certificates::Certificates>,
    /// None: the operator has given none.
    pub service_account: Option<Arc<tokens::service_account::ServiceAccount>>,
    pub limiter: Arc<rate_limit::Limiter>,
    pub http_client: http_client::Client,
    pub operator_events: Arc<OperatorEvents>,
    /// Shown when an event is written; see [`outbox::read_secret`].
    pub outbox_secret: String,
}

impl Services {
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
