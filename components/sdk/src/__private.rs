//! For the expansion of this crate's macros alone: not part of its interface.

pub use crate::bindings::exports::shema::http::handler::{Guest, Request, Response, Route as RouteRow};
pub use serde;
pub use serde_json;

use serde::{Deserialize, Deserializer, de::Error};
use std::borrow::Cow;

/// Deserializes what is a text outside and `parse` knows.
pub fn parsed<'de, T, D: Deserializer<'de>>(deserializer: D, parse: fn(&str) -> Option<T>) -> Result<T, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| Error::custom("is not of its form"))
}
