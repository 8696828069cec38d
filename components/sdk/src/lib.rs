//! What the components are written with.
//!
//! A component is a list of routes, and each route is a declaration: method,
//! path, who may call it, and a handler whose argument types say what it reads
//! from path, query and body and by which rules. This crate judges a request by
//! those declarations, in the order of the API contract, before a handler runs.
//! The same declarations, with the types of the answers, are the API's
//! description ([`openapi`]).
//!
//! | module | answers |
//! |---|---|
//! | [`route`] | which requests are there, who may send them |
//! | [`extract`] | what a handler is given |
//! | [`request`], [`field`] | what a request may contain |
//! | [`problem`], [`error`] | what is said when it does not |
//! | [`reply`], [`page`] | what is said when it does |
//! | [`openapi`] | all of this as a document |
//! | [`sockets`] | what happens on WebSockets, and what to do about it |
//! | [`database`], [`row`], [`events`], [`redis`], [`settings`], [`log`], [`tokens`], [`http_client`], [`components`] | what the host offers |
//!
//! It deliberately keeps nothing between two calls, knows no domain, and leaves
//! to the host what the host does: 404, 405, 401, limits, request ids.

#[doc(hidden)]
pub mod __private;
#[doc(hidden)]
pub mod bindings;
pub mod call;
pub mod components;
pub mod database;
mod database_error;
pub mod error;
pub mod events;
pub mod extract;
pub mod field;
pub mod http_client;
pub mod log;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod redis;
pub mod reply;
pub mod request;
pub mod route;
pub mod row;
pub mod settings;
pub mod sockets;
pub mod time;
pub mod tokens;
mod value;

pub use call::{Call, Principal, Role};
pub use error::{Code, Error, Result, codes};
pub use extract::{Body, OptionalBody, Path, Query, Unread};
pub use field::{Amount, Email, Int, List, Money, Text, Uuid, Verbatim, Whatsapp};
pub use page::{Item, Listing, Page};
pub use problem::{Flaw, Problem, Problems};
pub use reply::{Ack, Created, Data, File, Id, Stored, WithMeta};
pub use request::{Patch, Sent};
pub use route::Route;
pub use time::{Date, Since, Timestamp, Until};

/// For the macros, which expand in other crates and in this one.
extern crate self as sdk;

/// Makes a crate a component: exports the handler that serves `routes`, a
/// `fn() -> Vec<Route>`.
///
/// With `health = check`, a `fn() -> Result<(), String>`, the host asks it when
/// a version is deployed; an error refuses the version and says why.
///
/// With `sockets = name` it holds WebSockets too. `name` is a module, or a type,
/// with these functions (see [`sockets`] for what they may do):
///
/// - `endpoints() -> Vec<Endpoint>`: the paths under which connections are
///   opened, the same at each call;
/// - `handle(&Connection, Event)`: something happened on one;
/// - `published(channel: &str, payload: &str)`: a message on a channel that the
///   component listens to;
/// - `missed(rooms: &[String])`: says with [`sockets::advance`] how far these
///   rooms should be.
#[macro_export]
macro_rules! component {
    ($routes:path $(, health = $check:path)? $(, sockets = $sockets:ident)?) => {
        static ROUTES: std::sync::LazyLock<Vec<$crate::Route>> = std::sync::LazyLock::new($routes);

        #[doc(hidden)]
        pub struct Component;

        impl $crate::__private::Guest for Component {
            fn routes() -> Vec<$crate::__private::RouteRow> {
                $crate::route::table(&ROUTES)
            }

            fn describe() -> String {
                $crate::openapi::describe(&ROUTES)
            }

            fn handle(request: $crate::__private::Request) -> $crate::__private::Response {
                $crate::route::handle(&ROUTES, request)
            }
        }

        // Natively there is nobody to export to; tests call the parts.
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::export!(Component with_types_in $crate::bindings);

        $($crate::component!(@health $check);)?
        $($crate::component!(@sockets $sockets);)?
    };
    (@health $check:path) => {
        impl $crate::__private::HealthGuest for Component {
            fn check() -> Result<(), String> {
                $check()
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::bindings::health::export!(Component with_types_in $crate::bindings::health);
    };
    (@sockets $sockets:ident) => {
        impl $crate::__private::SocketsGuest for Component {
            fn endpoints() -> Vec<$crate::sockets::Endpoint> {
                $sockets::endpoints()
            }

            fn handle(connection: $crate::__private::RawConnection, event: $crate::__private::RawEvent) {
                // The host made it, so it is right; if not, the call is to end
                // in a trap, which undoes it.
                let connection = $crate::sockets::Connection::try_from(connection);
                $sockets::handle(&connection.expect("a connection as the contract has it"), event.into());
            }

            fn published(channel: String, payload: String) {
                $sockets::published(&channel, &payload);
            }

            fn missed(rooms: Vec<String>) {
                $sockets::missed(&rooms);
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::bindings::sockets::export!(Component with_types_in $crate::bindings::sockets);
    };
}
