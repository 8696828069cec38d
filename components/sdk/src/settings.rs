//! The operator's settings for this component. The host has checked their
//! kinds at start.

use crate::bindings::shema::settings::values;

/// None if unset or empty.
pub fn text(name: &str) -> Option<String> {
    values::get(name).filter(|value| !value.is_empty())
}

pub fn integer(name: &str) -> Option<i64> {
    text(name)?.parse().ok()
}

/// False if unset.
pub fn flag(name: &str) -> bool {
    text(name).is_some_and(|value| value == "true")
}
