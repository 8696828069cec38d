//! Ids: UUIDs, and a newtype of them for each kind of thing.

use super::{Field, Input};
use crate::{
    problem::{Flaw, Problem, Problems},
    value::{Column, Param, Value as Cell},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// 8-4-4-4-12 hex digits, in lower case whatever was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Uuid(String);

impl Uuid {
    /// None unless `text` has the form; the version digit is not judged.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == 36
            && text.bytes().enumerate().all(|(position, byte)| match position {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        well_formed.then(|| Self(text.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::described::parsed(deserializer, Self::parse)
    }
}

impl Field for Uuid {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let id = Self::parse(input.text()?);
        id.ok_or_else(|| Problem::new(Flaw::InvalidString, "must be a UUID").into())
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "uuid" })
    }
}

crate::__shown_as_read!(Uuid);

impl Param for Uuid {
    fn to_value(&self) -> Cell {
        Cell::Uuid(self.0.clone())
    }
}

impl Column for Uuid {
    fn from_value(value: &Cell) -> Option<Self> {
        match value {
            Cell::Uuid(text) => Self::parse(text),
            _ => None,
        }
    }
}

/// `id!(pub CourseId);`: the id of one kind of thing, not to be taken for
/// another's.
#[macro_export]
macro_rules! id {
    ($($(#[$meta:meta])* $vis:vis $name:ident;)+) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Debug, PartialEq, Eq, $crate::__private::serde::Serialize, $crate::__private::serde::Deserialize,
        )]
        #[serde(crate = "sdk::__private::serde", transparent)]
        $vis struct $name(pub $crate::Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl $crate::field::Field for $name {
            fn parse(input: $crate::field::Input<'_>) -> Result<Self, $crate::Problems> {
                <$crate::Uuid as $crate::field::Field>::parse(input).map(Self)
            }

            fn schema() -> $crate::__private::serde_json::Value {
                <$crate::Uuid as $crate::field::Field>::schema()
            }
        }

        $crate::__shown_as_read!($name);

        impl $crate::database::Param for $name {
            fn to_value(&self) -> $crate::database::Value {
                $crate::database::Param::to_value(&self.0)
            }
        }

        impl $crate::database::Column for $name {
            fn from_value(value: &$crate::database::Value) -> Option<Self> {
                $crate::database::Column::from_value(value).map(Self)
            }
        }
    )+};
}
