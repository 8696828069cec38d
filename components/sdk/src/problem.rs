//! What is wrong with a request, and where: the `details` of a
//! `VALIDATION_ERROR`.
//!
//! A value reports a problem without knowing where it stands; each container
//! on the way out puts its own key or index in front.

use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::Value;
use std::borrow::Cow;

/// The kind of a problem: `code` in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// Missing, or of another type.
    InvalidType,
    /// Text of the wrong form.
    InvalidString,
    InvalidEnumValue,
    TooSmall,
    TooBig,
    /// Everything else, such as rules across fields.
    Custom,
}

/// One problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// From the outside in: keys are strings, indexes numbers.
    path: Vec<Value>,
    flaw: Flaw,
    message: Cow<'static, str>,
}

impl Problem {
    pub fn new(flaw: Flaw, message: impl Into<Cow<'static, str>>) -> Self {
        Self { path: Vec::new(), flaw, message: message.into() }
    }

    /// A rule across fields, reported at `field`.
    pub fn custom(field: &str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { path: vec![field.into()], ..Self::new(Flaw::Custom, message) }
    }

    pub fn flaw(&self) -> Flaw {
        self.flaw
    }

    /// The path joined by dots.
    pub fn field(&self) -> String {
        let shown = |step: &Value| step.as_str().map_or_else(|| step.to_string(), str::to_owned);
        self.path.iter().map(shown).collect::<Vec<_>>().join(".")
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entry = serializer.serialize_struct("Problem", 4)?;
        entry.serialize_field("path", &self.path)?;
        entry.serialize_field("field", &self.field())?;
        entry.serialize_field("code", &self.flaw)?;
        entry.serialize_field("message", &self.message)?;
        entry.end()
    }
}

/// All problems of a value.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The value, or nothing after taking over what is wrong with it.
    pub fn take<T>(&mut self, result: Result<T, Problems>) -> Option<T> {
        result.map_err(|problems| self.0.extend(problems.0)).ok()
    }

    /// `value`, provided that there is no problem.
    pub fn none_or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// The same problems, seen from the object or list that holds the value
    /// under `step`.
    pub fn inside(mut self, step: impl Into<Value>) -> Self {
        let step = step.into();
        for problem in &mut self.0 {
            problem.path.insert(0, step.clone());
        }
        self
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
