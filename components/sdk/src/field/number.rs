//! Numbers with bounds.

use super::{Field, Input};
use crate::{
    problem::{Flaw, Problem, Problems},
    value::{Column, Param, Value as Cell},
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// A whole number, both bounds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Int<const MIN: i64, const MAX: i64>(i64);

impl<const MIN: i64, const MAX: i64> Int<MIN, MAX> {
    pub fn get(self) -> i64 {
        self.0
    }
}

impl<const MIN: i64, const MAX: i64> Field for Int<MIN, MAX> {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let number = input.integer()?;
        if number < MIN {
            return Err(Problem::new(Flaw::TooSmall, format!("must be at least {MIN}")).into());
        }
        if number > MAX {
            return Err(Problem::new(Flaw::TooBig, format!("must be at most {MAX}")).into());
        }
        Ok(Self(number))
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl<const MIN: i64, const MAX: i64> Param for Int<MIN, MAX> {
    fn to_value(&self) -> Cell {
        self.0.to_value()
    }
}

/// Rupiah with at most two decimals, as `numeric(10, 2)` holds them. A JSON
/// number outside, hundredths inside, so that no cent is lost on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(i64);

impl Money {
    const MAX: f64 = 99_999_999.99;

    /// Such as `150000.00`.
    pub fn digits(self) -> String {
        format!("{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Field for Money {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let number = input.number()?;
        if number < 0.0 {
            return Err(Problem::new(Flaw::TooSmall, "must be at least 0").into());
        }
        if number > Self::MAX {
            return Err(Problem::new(Flaw::TooBig, format!("must be at most {}", Self::MAX)).into());
        }
        // The shortest text that gives this float is the one that was sent, up
        // to zeros at its end.
        if number.to_string().split_once('.').is_some_and(|(_, decimals)| decimals.len() > 2) {
            return Err(Problem::new(Flaw::Custom, "must have at most two decimals").into());
        }
        Ok(Self((number * 100.0).round() as i64))
    }

    fn schema() -> Value {
        json!({ "type": "number", "minimum": 0, "maximum": Self::MAX, "multipleOf": 0.01 })
    }
}

crate::__shown_as_read!(Money);

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 100 == 0 {
            serializer.serialize_i64(self.0 / 100)
        } else {
            serializer.serialize_f64(self.0 as f64 / 100.0)
        }
    }
}

impl Param for Money {
    fn to_value(&self) -> Cell {
        Cell::Numeric(self.digits())
    }
}

impl Column for Money {
    fn from_value(value: &Cell) -> Option<Self> {
        let Cell::Numeric(digits) = value else { return None };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let whole: u32 = whole.parse().ok()?;
        let hundredths: u8 = format!("{decimals:0<2}").parse().ok().filter(|_| decimals.len() <= 2)?;
        Some(Self(i64::from(whole) * 100 + i64::from(hundredths)))
    }
}

/// A number of at least 0 to compare with, as large and as precise as a float.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Amount(f64);

impl Field for Amount {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let number = input.number()?;
        if number < 0.0 {
            return Err(Problem::new(Flaw::TooSmall, "must be at least 0").into());
        }
        Ok(Self(number))
    }

    fn schema() -> Value {
        json!({ "type": "number", "minimum": 0 })
    }
}

impl Param for Amount {
    /// Decimal, because a float would be compared as one and miss by a bit.
    fn to_value(&self) -> Cell {
        Cell::Numeric(self.0.abs().to_string())
    }
}
