//! The host's side of the contract in `wit/`: the only file of the host
//! with a `bindgen!`, one per world.
//!
//! Imports are async on the host, so that a component's plain blocking call
//! waits without holding a thread. Only what the capabilities need is
//! re-exported, by hand.

use wasmtime_wasi::TrappableError;

/// The type behind `resource transaction`: only a number, because a call has at
/// most one.
pub struct Transaction;

/// What a host function fails with: an error that the guest gets, or a trap.
pub type AuthenticationError = TrappableError<hub::AuthenticationError>;
pub type CallError = TrappableError<calls::Error>;
pub type CertificateError = TrappableError<certificates::Error>;
pub type DatabaseError = TrappableError<database::Error>;
pub type EventError = TrappableError<events::Error>;
pub type HttpClientError = TrappableError<http_client::Error>;
pub type RedisError = TrappableError<redis::Error>;
pub type ServiceAccountError = TrappableError<service_account::Error>;
pub type SessionError = TrappableError<sessions::TokenError>;

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "shema:host/component",
        imports: { default: async | trappable },
        exports: { default: async },
        trappable_error_type: {
            "shema:components/calls.error" => super::CallError,
            "shema:database/sql.error" => super::DatabaseError,
            "shema:events/outbox.error" => super::EventError,
            "shema:http-client/requests.error" => super::HttpClientError,
            "shema:redis/commands.error" => super::RedisError,
            "shema:sockets/hub.authentication-error" => super::AuthenticationError,
            "shema:tokens/certificates.error" => super::CertificateError,
            "shema:tokens/service-account.error" => super::ServiceAccountError,
            "shema:tokens/sessions.token-error" => super::SessionError,
        },
        with: {
            "shema:database/sql.transaction": super::Transaction,
        },
    });
}

/// The optional exports of a component that holds WebSockets.
mod sockets_generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "shema:host/sockets",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "shema:http/types": super::generated::shema::http::types,
            "shema:sockets/socket-types": super::generated::shema::sockets::socket_types,
            "shema:sockets/hub": super::generated::shema::sockets::hub,
        },
    });
}

pub use generated::exports::shema::http::handler::{Request, Response, Route};
pub use generated::shema::{
    components::calls, database::sql as database, events::outbox as events, http::types as http,
    http_client::requests as http_client, log::log, redis::commands as redis, settings::values as settings,
    sockets::hub, sockets::socket_types as sockets, tokens::certificates, tokens::passwords, tokens::service_account,
    tokens::sessions,
};
pub use generated::{Component as Bindings, ComponentIndices as Indices};
pub use sockets_generated::{Sockets as SocketBindings, SocketsIndices as SocketIndices};
