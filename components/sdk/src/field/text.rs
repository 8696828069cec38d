//! Text with a least and a greatest length, counted in characters.

use super::{Field, Input};
use crate::{
    problem::{Flaw, Problem, Problems},
    value::{Param, Value as Cell},
};
use serde::Serialize;
use serde_json::{Value, json};

/// For text that may be as long as a body.
pub const NO_MAX: usize = usize::MAX;

/// Trimmed before it is measured, and kept trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text<const MIN: usize, const MAX: usize>(String);

/// Kept as it was sent, such as a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verbatim<const MIN: usize, const MAX: usize>(String);

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A pattern for `ilike` that matches this text anywhere, its own wildcards
    /// taken as they stand.
    pub fn like_pattern(&self) -> String {
        let escaped = self.0.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        format!("%{escaped}%")
    }
}

impl<const MIN: usize, const MAX: usize> Verbatim<MIN, MAX> {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize, const MAX: usize> Field for Text<MIN, MAX> {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        Ok(Self(measured(input.text()?.trim(), MIN, MAX)?))
    }

    fn schema() -> Value {
        let mut schema = schema(MIN, MAX);
        if MIN > 0 {
            schema["pattern"] = trimmed_pattern(MIN).into();
        }
        schema
    }
}

impl<const MIN: usize, const MAX: usize> Field for Verbatim<MIN, MAX> {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        Ok(Self(measured(input.text()?, MIN, MAX)?))
    }

    fn schema() -> Value {
        schema(MIN, MAX)
    }
}

impl<const MIN: usize, const MAX: usize> Param for Text<MIN, MAX> {
    fn to_value(&self) -> Cell {
        self.0.to_value()
    }
}

fn measured(text: &str, min: usize, max: usize) -> Result<String, Problem> {
    let length = text.chars().count();
    if length < min {
        let message =
            if min == 1 { "must not be empty".into() } else { format!("must have at least {min} characters") };
        return Err(Problem::new(Flaw::TooSmall, message));
    }
    if length > max {
        return Err(Problem::new(Flaw::TooBig, format!("must have at most {max} characters")));
    }
    Ok(text.to_owned())
}

fn schema(min: usize, max: usize) -> Value {
    let mut schema = json!({ "type": "string", "pattern": r"^[^\x00]*$" });
    if min > 0 {
        schema["minLength"] = min.into();
    }
    if max != NO_MAX {
        schema["maxLength"] = max.into();
    }
    schema
}

/// Of text that has `min` characters without the white space around them.
fn trimmed_pattern(min: usize) -> String {
    let inner = match min {
        0 | 1 => r"[^\x00\s]".to_owned(),
        _ => format!(r"[^\x00\s][^\x00]{{{},}}[^\x00\s]", min - 2),
    };
    format!(r"^[^\x00]*{inner}[^\x00]*$")
}
