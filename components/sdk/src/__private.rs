//! For the expansion of this crate's macros alone: not part of its interface.

pub use crate::bindings::exports::shema::http::handler::{Guest, Request, Response, Route as RouteRow};
pub use crate::bindings::health::exports::shema::health::check::Guest as HealthGuest;
pub use crate::bindings::shema::sockets::socket_types::{Connection as RawConnection, Event as RawEvent};
pub use crate::bindings::sockets::exports::shema::sockets::connection_handler::Guest as SocketsGuest;
pub use schemars;
pub use serde;
pub use serde_json;

pub use crate::field::described::{parsed, schema_of};
