//! For the expansion of this crate's macros alone: not part of its interface.

pub use crate::bindings::exports::shema::http::handler::{Guest, Request, Response, Route as RouteRow};
pub use serde;
pub use serde_json;
