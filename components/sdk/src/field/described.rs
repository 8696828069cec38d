//! Describes and reads a type in answers as it is described and read in requests.

use super::Field;
use schemars::Schema;
use serde::{Deserialize, Deserializer, de::Error};
use std::borrow::Cow;

/// The schema of what is answered as it is asked for.
pub fn schema_of<T: Field>() -> Schema {
    Schema::try_from(T::schema()).unwrap_or_default()
}

/// Describes types in answers as they are described in requests.
#[doc(hidden)]
#[macro_export]
macro_rules! __shown_as_read {
    ($($type:ident),+) => {$(
        impl $crate::__private::schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut $crate::__private::schemars::SchemaGenerator) -> $crate::__private::schemars::Schema {
                $crate::__private::schema_of::<Self>()
            }
        }
    )+};
}

/// Deserializes what is a text outside and `parse` knows.
pub fn parsed<'de, T, D: Deserializer<'de>>(deserializer: D, parse: fn(&str) -> Option<T>) -> Result<T, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| Error::custom("is not of its form"))
}
