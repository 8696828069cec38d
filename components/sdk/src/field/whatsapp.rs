//! WhatsApp numbers of Indonesia, as everybody gives them here.

use super::{Field, Input};
use crate::{
    problem::{Flaw, Problem, Problems},
    value::{Param, Value as Cell},
};
use serde::Serialize;
use serde_json::{Value, json};

/// `+62` and 9 to 12 digits, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Whatsapp(String);

impl Whatsapp {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Field for Whatsapp {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let text = input.text()?.trim();
        let digits = text.strip_prefix("+62").unwrap_or_default();
        if !(9..=12).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Problem::new(Flaw::InvalidString, "must be +62 and 9 to 12 digits").into());
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": r"^\+62[0-9]{9,12}$" })
    }
}

impl Param for Whatsapp {
    fn to_value(&self) -> Cell {
        self.0.to_value()
    }
}
